"""Counts parameters and multiply-accumulates of the parts of a model, without memory or data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmav import tables
from mmav.errors import ConfigError
from mmav.models.av_classifier import AVClassifier, tokens_of
from mmav.models.backbones.base import input_shape
from mmav.models.layers import MultiscaleAttention
from mmav.registry import MODELS

# parameters and multiply-accumulates that the paper reports (Table 2 and 4.2), by config and part
PAPER = {
    'mmt_k4_l4_vggsound': dict(audio='52 M, 46.2 G', total='206 G'),
    'mat_base_vggsound': dict(audio='52 M, 46.2 G'),
    'ast_base_vggsound': dict(audio='87 M, 131 G'),
    'mbt_b_vggsound': dict(total='317 G'),
}


@dataclass(frozen=True)
class Cost:
    """What one part of a model costs for one clip.

    Attributes:
        part: Name of the modality for an encoder; ``neck``, ``head``, ``contrast``, ``auxiliary.`` and a
            name, ``total``.
        what: Type of the part, and the size of its input if it reads one.
        parameters: Number of parameters.
        explicit: Multiply-accumulates with the relative positions written out: the reference count.
        folded: The same if multiscale attention folds them into longer queries and keys for fused kernels.
        training: ``explicit`` of a forward pass in training, where ``token_drop`` leaves tokens out.
    """

    part: str
    what: str
    parameters: int
    explicit: int
    folded: int
    training: int


def count_macs(run: Callable[[], Any]) -> tuple[int, Any]:
    """Counts the multiply-accumulates of matrix products, convolutions and attention in a call, and returns its result.

    Attention runs on the math kernel, whose two products count one by one, whatever their widths.

    >>> count_macs(lambda: torch.zeros(2, 3) @ torch.zeros(3, 5))[0]
    30
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.inference_mode(), counter:
        result = run()
    return counter.get_total_flops() // 2, result


def count_model(model: Mapping[str, Any], input_sizes: Mapping[str, Sequence[int]] | None = None) -> list[Cost]:
    """Counts the parts of an :class:`~mmav.models.AVClassifier` for one clip of one view, and their sum.

    Losses that train the encoders (``contrast``, ``auxiliary``) are listed with their parameters, but are not in the
    sum, as they do not classify clips.

    Args:
        model: Config of the model; not changed.
        input_sizes: Modality -> (T, H, W) of a clip or (F, T) of a spectrogram; defaults to the size that the backbone
            is built for.

    Raises:
        ConfigError: The model is of another type, or a size does not fit it.
    """
    init_default_scope('mmav')
    # the preprocessor has no products, and its buffers do not belong on the meta device
    model = {key: value for key, value in model.items() if key != 'data_preprocessor'}
    with torch.device('meta'):
        built = MODELS.build(model)
    if not isinstance(built, AVClassifier):
        raise ConfigError(f'model.type={model.get("type")!r}: parts are counted of an AVClassifier only')
    # PyTorch's counter stumbles over parameters that one module hands to another, as weight normalisation does
    built.requires_grad_(False)
    dropping = [part for part in built.train().modules() if part.training and getattr(part, 'token_drop', None)]
    built.eval()
    sizes = {name: input_shape(backbone) for name, backbone in built.backbones.items()}
    for name, size in (input_sizes or {}).items():
        if name not in sizes:
            raise ConfigError(f'input size of {name!r}: the model reads {" and ".join(sizes)}')
        sizes[name] = (sizes[name][0], *size)
    explicit, folded = (_macs_of_parts(built, sizes, form) for form in ('explicit', 'folded'))
    training = _macs_of_parts(built, sizes, 'explicit', dropping) if dropping else explicit
    modules: dict[str, nn.Module] = {**dict(built.backbones.items()), 'neck': built.neck, 'head': built.head}
    costs = []
    for part, module in modules.items():
        what = type(module).__name__
        if part in sizes:
            what += ', ' + ' x '.join(map(str, sizes[part][1:]))
        costs.append(Cost(part, what, _parameters(module), explicit[part], folded[part], training[part]))
    what = ' + '.join(type(module).__name__ for module in modules.values())
    total = [sum(getattr(cost, key) for cost in costs) for key in ('parameters', 'explicit', 'folded', 'training')]
    only = {'contrast': built.contrast} if built.contrast is not None else {}
    only |= {f'auxiliary.{name}': part for name, part in built.auxiliary.items()}
    for name, module in only.items():
        costs.append(Cost(name, f'{type(module).__name__}, training only', _parameters(module), 0, 0, 0))
    return [*costs, Cost('total', what, *total)]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _macs_of_parts(
    model: AVClassifier, sizes: Mapping[str, Sequence[int]], form: str, dropping: Sequence[nn.Module] = ()
) -> dict[str, int]:
    """Counts with one form of attention; ``dropping`` are encoders that leave tokens out, as in training."""
    for encoder in dropping:
        encoder.training = True  # of itself alone: layers inside that need a batch in training stay in eval mode
    for module in model.modules():
        if isinstance(module, MultiscaleAttention):
            module.attention = form
    macs, tokens = {}, {}
    for name, backbone in model.backbones.items():
        x = torch.zeros(1, *sizes[name], device='meta')
        try:
            macs[name], tokens[name] = count_macs(partial(tokens_of, backbone, x, name))
        except ConfigError:  # which names the backbone; it is a ValueError, too
            raise
        except ValueError as error:
            raise ConfigError(f'input size {tuple(sizes[name][1:])} of {name!r}: {error}') from error
    macs['neck'], streams = count_macs(lambda: model.neck(tokens))
    macs['head'], _ = count_macs(lambda: model.head.predict(streams))
    return macs


def _row(cost: Cost, training: bool = False) -> list[str]:
    counts = (cost.explicit, cost.folded, *([cost.training] if training else []))
    macs = [f'{number / 1e9:.3f} G' for number in counts]
    return [cost.part, cost.what, f'{cost.parameters / 1e6:.2f} M', *macs]


def text_table(costs: Sequence[Cost]) -> str:
    """A table for a terminal: one line per part, multiply-accumulates in both forms, and in training if they differ."""
    differs = any(cost.training != cost.explicit for cost in costs)
    head = ['part', 'type', 'parameters', 'MACs', 'MACs, folded', *(['MACs, training'] if differs else [])]
    return tables.text_table([head, *(_row(cost, differs) for cost in costs)], left=2)


def markdown_table(counted: Mapping[str, Sequence[Cost]]) -> str:
    """A Markdown table of several configs (name -> costs), with the figures of the paper."""
    lines = [['config', 'part', 'type', 'parameters', 'MACs', 'MACs, folded', 'paper']]
    for config, costs in counted.items():
        for number, cost in enumerate(costs):
            lines.append([config * (number == 0), *_row(cost), PAPER.get(config, {}).get(cost.part, '')])
    return tables.markdown_table(lines)
