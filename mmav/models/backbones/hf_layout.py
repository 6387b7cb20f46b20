"""How encoders of transformers read clips and what their outputs mean: layouts, class tokens, grids."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError, one_line
from mmav.models.layers.temporal_pool import split_frames
from mmav.structures import Tokens

EMBEDDINGS = ('auto', 'token', 'mean', 'pooler')
# model_type -> how it reads log-mels, with B clips, T frames and F bins
_SPECTROGRAMS = {
    'audio-spectrogram-transformer': 'BTF',
    'clap_audio_model': 'B1TF',
    'wav2vec2-bert': 'BTF',
    'whisper': 'BFT',
}
# those that read waveforms with an axis of channels
_CHANNELS = ('dac', 'encodec', 'pe_audio_encoder')
# what is off in training unless a config turns it on: mmav augments clips itself, and a layer that is left out has no
# gradient, which training in several processes does not survive
QUIET = dict(layerdrop=0.0, apply_spec_augment=False)


def kind_of(encoder: Any) -> str:
    """What an encoder reads: ``image``, ``video``, ``waveform`` or ``spectrogram``.

    Raises:
        ConfigError: Something else, such as text.
    """
    name, config = encoder.main_input_name, encoder.config
    if name == 'pixel_values_videos' or (name == 'pixel_values' and hasattr(config, 'num_frames')):
        return 'video'
    if name == 'pixel_values':
        return 'image'
    if config.model_type in _SPECTROGRAMS:
        return 'spectrogram'
    if name == 'input_values' and not hasattr(config, 'num_mel_bins'):
        return 'waveform'
    what = 'text' if name == 'input_ids' else name
    raise ConfigError(
        f'model: {type(encoder).__name__} reads {what}; HFBackbone takes encoders of images, videos, waveforms, and '
        f'log-mels of {", ".join(_SPECTROGRAMS)}'
    )


def default_size(config: Any, kind: str) -> tuple[int, ...] | None:
    """The size that an encoder's config is made for: (T, H, W), (F, T) or (T,); None if it does not say."""

    def first(*names: str) -> Any:
        return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)

    if kind == 'waveform':
        return (160000,)
    if kind == 'spectrogram':
        frames = first('max_length') or 2 * (first('max_source_positions') or 0) or 1001
        return (first('num_mel_bins', 'feature_projection_input_dim'), frames)
    side = first('image_size', 'crop_size')
    if side is None:
        return None
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return (first('num_frames', 'frames_per_clip') or 8, height, width)


@dataclass(frozen=True)
class Layout:
    """How one encoder is fed and read.

    Attributes:
        kind: What it reads, see :func:`kind_of`.
        grid: Of the tokens of an input of the size at construction; without the axis of time for ``image``.
        num_extra: How many class, distillation and register tokens stand before the patches.
        num_class: How many of these the class embedding is the mean of.
        embedding: ``token``, ``mean`` or ``pooler``.
        width: D.
        options: Further arguments of its ``forward``.
        idle: Names of the parameters that its tokens do not depend on.
    """

    kind: str
    grid: tuple[int, ...]
    num_extra: int
    num_class: int
    embedding: str
    width: int
    options: Mapping[str, Any]
    idle: frozenset[str]

    def encode(self, encoder: Any, x: Tensor) -> Tokens:
        """Encodes clips (B, C, *size); frames of clips as images (B * T, ...) for ``image``."""
        output = encoder(to_input(encoder, self.kind, x), return_dict=True, **self.options)
        last = output.last_hidden_state
        sequence = last.flatten(2).transpose(1, 2) if last.dim() == 4 else last
        patches = sequence[:, self.num_extra :]
        # lengths that vary are those of a waveform
        grid = (int(patches.shape[1]),) if self.kind == 'waveform' else self.grid
        if encoder.config.model_type == 'timesformer':  # all times of a patch lie side by side
            frames = grid[0]
            patches = patches.unflatten(1, (-1, frames)).transpose(1, 2).flatten(1, 2)
        if self.embedding == 'pooler':
            cls = output.pooler_output.flatten(1)
        elif self.embedding == 'token':
            cls = sequence[:, : self.num_class].mean(dim=1)
        else:
            cls = patches.mean(dim=1)
        return Tokens(cls, patches, grid)


def to_input(encoder: Any, kind: str, x: Tensor) -> Tensor:
    """Clips (B, C, *size) in the layout of an encoder.

    Returns:
        (B * T, 3, H, W), (B, T, 3, H, W), (B, T) or (B, 1, T), or a layout of log-mels.
    """
    if kind == 'image':
        return split_frames(x)
    if kind == 'video':
        return x.transpose(1, 2).contiguous()
    model_type = encoder.config.model_type
    if kind == 'waveform':
        return x if model_type in _CHANNELS else x[:, 0]
    layout = _SPECTROGRAMS[model_type]
    x = x if layout == 'BFT' else x.transpose(2, 3)
    return x if layout == 'B1TF' else x[:, 0]


def prune(encoder: Any, embedding: str) -> None:
    """Removes what no token depends on: predictors, and poolers for classification unless they are asked for.

    Such a pooler, a linear layer and tanh, is new in most files: those of models trained without labels lack it.
    """
    if embedding != 'pooler' and hasattr(getattr(encoder, 'pooler', None), 'dense'):
        encoder.pooler = None
    if encoder.config.model_type == 'vjepa2':
        encoder.predictor = None


def read_layout(encoder: Any, size: Sequence[int], embedding: str, *, who: str) -> Layout:
    """Runs an encoder without values, on the meta device, to see what its outputs mean.

    Args:
        encoder: On the meta device; its superfluous parts are removed.
        size: Of an input: (T, H, W), (F, T) or (T,).
        embedding: See :class:`~mmav.models.backbones.HFBackbone`.
        who: What it is called in messages.

    Raises:
        ConfigError: The encoder does not take inputs of this size, has no such embedding, or gives something else than
            tokens on a grid.
    """
    kind = kind_of(encoder)
    rank = dict(image=3, video=3, spectrogram=2, waveform=1)[kind]
    if len(size) != rank:
        axes = {3: '(T, H, W)', 2: '(F, T)', 1: '(T,)'}[rank]
        raise ConfigError(f'{who} reads {kind}s: give input_size={axes}, got {tuple(size)}')
    prune(encoder, embedding)
    options = _options(encoder, kind, size)
    shape = (1, 3 if rank == 3 else 1, *size)
    encoder.eval()  # nothing is drawn, so that no value is looked at
    try:
        with torch.enable_grad(), torch.device('meta'):
            output = encoder(to_input(encoder, kind, torch.empty(shape)), return_dict=True, **options)
    except Exception as error:  # transformers' checks of sizes share no class
        raise ConfigError(
            f'{who} does not take inputs of size {tuple(size)} ({one_line(error)[:200]}); its config is made for '
            f'{default_size(encoder.config, kind)}'
        ) from error
    last, pooled = getattr(output, 'last_hidden_state', None), getattr(output, 'pooler_output', None)
    if last is None or last.dim() not in (3, 4):
        raise ConfigError(f'{who} gives no sequence of tokens (last_hidden_state), so it is no encoder for mmav')
    width = last.shape[1] if last.dim() == 4 else last.shape[2]
    grid, extra = _grid(encoder, kind, size, last=last)
    embedding = _choose(embedding, extra, pooled, width=width, who=who)
    twins = sum(name.endswith(('distillation_token', 'dist_token')) for name, _ in encoder.named_parameters())
    reached = _leaves([last, pooled] if embedding == 'pooler' and pooled is not None else [last])
    idle = frozenset(name for name, parameter in encoder.named_parameters() if id(parameter) not in reached)
    return Layout(kind, grid, extra, 1 + min(twins, 1), embedding, width, options, idle)


def _options(encoder: Any, kind: str, size: Sequence[int]) -> dict[str, Any]:
    accepted = inspect.signature(encoder.forward).parameters
    options: dict[str, Any] = {}
    if 'skip_predictor' in accepted:
        options['skip_predictor'] = True
    made_for = default_size(encoder.config, kind)
    if 'interpolate_pos_encoding' in accepted and made_for is not None and tuple(size[1:]) != made_for[1:]:
        options['interpolate_pos_encoding'] = True
    return options


def _choose(embedding: str, extra: int, pooled: Tensor | None, *, width: int, who: str) -> str:
    if embedding not in EMBEDDINGS:
        raise ConfigError(
            f'embedding={embedding!r} is unknown: choose {", ".join(EMBEDDINGS[:-1])} or {EMBEDDINGS[-1]}'
        )
    fits = pooled is not None and math.prod(pooled.shape[1:]) == width
    if embedding == 'pooler' and not fits:
        raise ConfigError(f"embedding='pooler': {who} has no pooler of width {width}; leave it out, or take 'mean'")
    if embedding == 'token' and not extra:
        raise ConfigError(f"embedding='token': {who} has no class token; leave it out, or take 'mean'")
    if embedding == 'auto':
        return 'pooler' if fits else 'token' if extra else 'mean'
    return embedding


def _grid(encoder: Any, kind: str, size: Sequence[int], *, last: Tensor) -> tuple[tuple[int, ...], int]:
    """The grid of the tokens that an encoder gives, and how many stand before them."""
    config, number = encoder.config, last.shape[1]
    if last.dim() == 4:
        return tuple(last.shape[2:]), 0
    if kind == 'waveform':
        return (number,), 0
    if kind == 'spectrogram':
        if not hasattr(config, 'frequency_stride'):  # each token is all bins of some frames
            return (1, number), 0
        strides = (config.frequency_stride, config.time_stride)
        grid = tuple((n - config.patch_size) // stride + 1 for n, stride in zip(size, strides, strict=True))
        return grid, number - math.prod(grid)
    if kind == 'video' and number == size[0]:
        return (number, 1, 1), 0
    frames, patch = _patch(config, kind, size)
    most = 2 + (getattr(config, 'num_register_tokens', None) or 0)
    factor = 1
    while factor * max(patch) <= max(size[1:]):
        space = tuple(n // (p * factor) for n, p in zip(size[1:], patch, strict=True))
        extra = number - math.prod((*frames, *space))
        if 0 <= extra <= most:
            return (*frames, *space), extra
        factor *= 2
    raise ConfigError(f'model: where the {number} tokens of {type(encoder).__name__} lie in {tuple(size)} is unknown')


def _patch(config: Any, kind: str, size: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The axis of time of the grid, none for images, and height and width of a patch."""
    tubelet = getattr(config, 'tubelet_size', None)
    patch = getattr(config, 'patch_stride', None) or getattr(config, 'patch_size', None)
    if isinstance(tubelet, list | tuple):
        tubelet, *patch = tubelet
    height, width = patch if isinstance(patch, list | tuple) else (patch or 1, patch or 1)
    frames = () if kind == 'image' else (size[0] // (tubelet or 1),)
    return frames, (height, width)


def _leaves(outputs: Sequence[Tensor]) -> set[int]:
    """The ids of the parameters that tensors depend on."""
    seen, found = set(), set()
    stack = [output.grad_fn for output in outputs]
    while stack:
        function: Any = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, 'variable'):
            found.add(id(function.variable))
        stack += [each for each, _ in function.next_functions]
    return found


def blocks_of(encoder: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of an encoder in order: those that transformers can checkpoint, or else its longest list of twins.

    Convolutions before the transformer are none of them, and of a stage they are its layers.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: list[nn.Module] = []
    inside: set[int] = set()
    for name, module in encoder.named_modules():
        if name.startswith('feature_extractor') or id(module) in inside:
            continue
        if isinstance(module, GradientCheckpointingLayer):
            layers = getattr(module, 'layers', getattr(module, 'blocks', None))
            found += layers if isinstance(layers, nn.ModuleList) else [module]
            inside.update(map(id, module.modules()))
    lists = [
        list(each) for each in encoder.modules() if isinstance(each, nn.ModuleList) and len({*map(type, each)}) == 1
    ]
    longest: list[nn.Module] = max(lists, key=len, default=[])
    return tuple(found or longest)
