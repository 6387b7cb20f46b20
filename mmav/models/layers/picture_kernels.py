"""Convolution kernels of picture models, made to fit spectrograms and clips."""

from __future__ import annotations

from torch import Tensor


def to_one_channel(kernel: Tensor, rgb: str) -> tuple[Tensor, str]:
    """Makes a kernel (D, C, *size) of several channels one of a single channel.

    The ``sum`` gives for a spectrogram what the old kernel gives for it in every channel; the ``mean`` is a C-th of it.

    Args:
        kernel: The kernel.
        rgb: ``sum`` or ``mean``.

    Returns:
        The kernel (D, 1, *size), and what was done in words.
    """
    done = dict(sum='summed', mean='averaged')[rgb]
    merged = kernel.sum(dim=1, keepdim=True) if rgb == 'sum' else kernel.mean(dim=1, keepdim=True)
    return merged, f'{kernel.shape[1]} channels {done} to 1'


def inflate_kernel(kernel: Tensor, frames: int, how: str) -> tuple[Tensor, str]:
    """Makes a kernel (D, C, H, W) of pictures one of clips (D, C, frames, H, W).

    In a clip that stands still both give what the old kernel gives for its picture, but where the kernel reaches over
    the clip's ends: there the padding is zero, and only the ``center`` keeps the value. (Carreira and Zisserman 2017,
    I3D, and facebookresearch/SlowFast have the mean; Arnab et al. 2021, ViViT, compare the two and prefer the center.)

    Args:
        kernel: The kernel.
        frames: Length over time.
        how: ``center``: it stands in frame ``frames // 2``, the others are zero. ``mean``: its share in every frame.

    Returns:
        The kernel, and what was done in words.
    """
    if how == 'mean':
        return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames, f'spread over {frames} frames'
    inflated = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
    inflated[:, :, frames // 2] = kernel
    return inflated, f'in the center of {frames} frames'
