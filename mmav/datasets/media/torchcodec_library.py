"""Loads torchcodec, and says in one line what is missing."""

from __future__ import annotations

from types import SimpleNamespace

from mmav.errors import ConfigError, did_you_mean

DEVICES = ('cpu', 'cuda')


def load_torchcodec() -> SimpleNamespace:
    """torchcodec's ``VideoDecoder`` and ``Resize``.

    Raises:
        ConfigError: It is not installed, too old, or finds neither FFmpeg's libraries nor a fitting torch.
    """
    need = "backend='torchcodec' needs torchcodec"
    instead = "or use backend='pyav'"
    try:
        import torchcodec
    except ImportError as error:
        raise ConfigError(
            f'{need}: pip install torchcodec, and FFmpeg of the system (apt install ffmpeg), {instead}'
        ) from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(_unloaded(need, instead)) from error
    try:
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize
    except ImportError as error:
        version = getattr(torchcodec, '__version__', 'unknown')
        raise ConfigError(f'{need} 0.17 or newer, not {version}: pip install -U torchcodec, {instead}') from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(_unloaded(need, instead)) from error
    if getattr(torchcodec, 'ffmpeg_major_version', 0) is None:
        raise ConfigError(_unloaded(need, instead))
    return SimpleNamespace(VideoDecoder=VideoDecoder, Resize=Resize)


def _unloaded(need: str, instead: str) -> str:
    import torch

    return (
        f'{need}, which cannot load its libraries: install FFmpeg 4 to 9 with shared libraries (apt install ffmpeg), '
        f'and the torchcodec made for torch {torch.__version__}, {instead}'
    )


def check_decode_device(device: str) -> None:
    """Refuses a device that is not there; does not start it, as processes that are forked later could not use it.

    Raises:
        ConfigError: There is no such device.
    """
    import torch

    kind = device.split(':')[0]
    if kind not in DEVICES or (kind == 'cpu' != device):
        raise ConfigError(f'decode_device={device!r}: choose {" or ".join(DEVICES)}{did_you_mean(kind, DEVICES)}')
    if kind != 'cpu' and not torch.cuda.is_available():
        raise ConfigError(f'decode_device={device!r} needs a CUDA device, and torch finds none: leave it out')


def start_device(device: str) -> None:
    """Makes a device ready for decoding in this process.

    Raises:
        ConfigError: This process was forked from one that uses CUDA.
    """
    if device == 'cpu':
        return
    import torch

    try:
        torch.cuda.init()
    except RuntimeError as error:
        if 'fork' not in str(error):
            raise
        raise ConfigError(
            f'decode_device={device!r} in a worker that was forked from a process with CUDA: give the DataLoader '
            "multiprocessing_context='spawn', or num_workers=0"
        ) from error
