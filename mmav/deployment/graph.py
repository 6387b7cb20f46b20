"""The exported graph: frames and log-mels in, probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmav.models.av_classifier import AVClassifier, tokens_of
from mmav.models.layers import MultiscaleAttention, PatchEmbed
from mmav.structures import Tokens

# forms of attention that consist of plain operators
EXPORTED_FORMS = ('auto', 'explicit', 'folded')


class ExportGraph(nn.Module):
    """A classifier of one view with its normalisation, from tensors to tensors.

    Args:
        model: The model; it is put into evaluation mode, and attention in a form that exporters do not support into
            the form ``auto``.
        shapes: Modality name -> shape of one clip without batch and views: ``video`` (3, T, H, W), ``audio`` (1, F, T).
        drop: Modalities that are absent from all clips: they are not inputs, and their encoders are left out.
    """

    def __init__(self, model: AVClassifier, shapes: Mapping[str, Sequence[int]], drop: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model.eval()
        for module in model.modules():
            if isinstance(module, MultiscaleAttention) and module.attention not in EXPORTED_FORMS:
                module.attention = 'auto'
        self.inputs = [name for name in model.backbones if name not in drop]
        self.drop = list(drop)
        # a clip may lack one of several modalities, not the only one
        self.masks = [f'{name}_mask' for name in self.inputs] if len(self.inputs) > 1 else []
        self.absent = nn.ModuleDict({name: _AbsentTokens(model.backbones[name], shapes[name]) for name in drop})
        # of this module too, as the exporter gives its mode to all others
        self.eval()

    @property
    def input_names(self) -> list[str]:
        """Names of the arguments of :meth:`forward`, in order."""
        return [*self.inputs, *self.masks]

    @property
    def outputs(self) -> dict[str, Any]:
        """Name of each result of :meth:`forward` -> the head that gives it."""
        parts = self.model.head.parts
        return parts if len(parts) > 1 else dict(probabilities=next(iter(parts.values())))

    def forward(self, *values: Tensor) -> dict[str, Tensor]:
        """Classifies B clips.

        Args:
            values: For each of ``inputs`` a tensor (B, C, ...) from the data pipeline, for each of ``masks`` a tensor
                (B,) of bool, True where the clip has that modality.

        Returns:
            Part of the label -> probabilities (B, C).
        """
        model, count = self.model, len(self.inputs)
        tokens = {}
        for name, value in zip(self.inputs, values[:count], strict=True):
            # to (B, 1, C, ...), as the preprocessor expects it, and back
            normalised = model.data_preprocessor.normalise(name, value.unsqueeze(1)).squeeze(1)
            tokens[name] = tokens_of(model.backbones[name], normalised, name)
        masks: dict[str, Tensor] | None = None
        if self.masks or self.drop:
            # without mask inputs, the one modality that is left is present
            present = values[count:] or [torch.ones_like(values[0].flatten(1)[:, 0], dtype=torch.bool)]
            masks = dict(zip(self.inputs, present, strict=True))
            for name in self.drop:
                tokens[name] = self.absent[name](values[0])
                masks[name] = torch.zeros_like(present[0])
        ordered = {name: tokens[name] for name in model.backbones}
        return model.head.predict(model.neck(ordered, masks), masks)


class _AbsentTokens(nn.Module):
    """Zeros instead of an encoder's tokens: necks ignore tokens of a modality that the masks say is absent."""

    def __init__(self, backbone: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        parameter = next(backbone.parameters())
        with torch.inference_mode():
            tokens = backbone(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
        self.width, self.length, self.grid = tokens.cls.shape[1], tokens.patches.shape[1], tuple(tokens.grid)

    def forward(self, like: Tensor) -> Tokens:
        patches = like.new_zeros(like.shape[0], self.length, self.width, dtype=torch.float32)
        return Tokens(patches[:, 0], patches, self.grid)


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """During an export, shows PyTorch's tracing exporter which sizes are fixed and which one is the batch.

    The exporter loses the batch axis in ``unflatten`` and writes negative axes for ``movedim``; here ``reshape`` and
    ``permute`` give the same views. Grids of tokens are numbers, not sizes of tensors.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, PatchEmbed):
                stack.callback(module.register_forward_hook(_fixed_grid).remove)
        originals = {name: vars(torch.Tensor).get(name) for name in ('unflatten', 'movedim')}
        for name, replacement in dict(unflatten=_unflatten, movedim=_movedim).items():
            stack.callback(_restore, name, originals[name])
            setattr(torch.Tensor, name, replacement)
        yield


def _restore(name: str, original: Any) -> None:
    if original is None:  # it was inherited
        delattr(torch.Tensor, name)
    else:
        setattr(torch.Tensor, name, original)


def _fixed_grid(module: nn.Module, args: Any, output: tuple[Tensor, Sequence[int]]) -> tuple[Tensor, tuple[int, ...]]:
    return output[0], tuple(int(n) for n in output[1])


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    dim = dim % x.dim()
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _movedim(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    sources, targets = (
        [axis % x.dim() for axis in ([axes] if isinstance(axes, int) else axes)] for axes in (source, destination)
    )
    order = [axis for axis in range(x.dim()) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return x.permute(order)
