"""Loads the weights of a checkpoint into a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from logging import WARNING
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.adapting import adapt_weights
from mmav.checkpoints import NAMES_SHOWN, describe_mismatch
from mmav.engine.class_heads import tell_other_number
from mmav.engine.distributed.fsdp import spread_like
from mmav.errors import CheckpointError
from mmav.models.init import forget_files
from mmav.models.lora import is_lora
from mmav.models.training_loss import is_for_training

_ENCODERS = 'backbones.'


def load_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    source: str,
    *,
    strict: bool = True,
    whole: bool = False,
    grids: Mapping[str, Any] | None = None,
) -> None:
    """Loads weights into a model; interpolates, and logs, positions of another input size.

    Args:
        model: The model, not wrapped for distribution.
        state_dict: Weights; a prefix ``module.`` is dropped.
        source: File name for messages.
        strict: Every name and shape must fit, but for parts that only training needs, see ``whole``. Otherwise whatever
            fits is loaded and the rest is logged.
        whole: Auxiliary parts must fit, too, as where a training goes on; if not, those that only the model or only the
            checkpoint has stay as they are.
        grids: The grids behind the checkpoint's position tables, ``position_grids`` of its ``meta``. If missing, as in
            bare weights, they are inferred from the number of positions.

    Raises:
        CheckpointError: The weights are of another architecture (when not strict: nothing fits).
    """
    weights = OrderedDict((name.removeprefix('module.'), value) for name, value in state_dict.items())
    if hasattr(state_dict, '_metadata'):
        weights._metadata = state_dict._metadata  # type: ignore[attr-defined]
    own = model.state_dict()
    weights.update(_of_another_input_size(model, weights, source, grids))
    weights.update((name, spread_like(weights[name], own[name])) for name in list(weights) if name in own)
    if strict and not whole:
        _settle_auxiliary(model, own, weights)
    reshaped = [name for name in weights if name in own and _shape(weights[name]) != _shape(own[name])]
    missing = [name for name in own if name not in weights]
    started = [name for name in missing if is_lora(name)]
    if started and not strict:
        missing = [name for name in missing if name not in started]
        print_log(f"'{source}' has no LoRA, which starts from zero: {len(started)} matrices", 'current')
    unexpected = [name for name in weights if name not in own]
    report = describe_mismatch(
        missing, unexpected, [f'{name} {_shape(weights[name])} for {_shape(own[name])}' for name in reshaped]
    )
    forget_files(model, {name: value for name, value in weights.items() if name not in reshaped})
    if strict:
        try:
            # modules decide: their load hooks may adapt what looks like a mismatch
            model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            why = tell_other_number(weights, model) or report or error
            remedy = _features_or_files(own, weights, [*missing, *unexpected]) or (
                'give the config that the checkpoint was trained with (its work dir holds a copy)'
            )
            raise CheckpointError(f"'{source}' does not fit the model of this config: {why}; {remedy}") from error
        return
    if len(unexpected) + len(reshaped) == len(weights):
        raise CheckpointError(
            f"nothing in '{source}' fits the model of this config: {report}; weights of one encoder are for its "
            "init_cfg=dict(type='PublicWeights', checkpoint=...)"
        )
    model.load_state_dict({k: v for k, v in weights.items() if k not in reshaped and k in own}, strict=False)
    if report:
        print_log(f"'{source}' was loaded in part: {report}", 'current', level=WARNING)


def _settle_auxiliary(model: nn.Module, own: Mapping[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Leaves out of ``weights`` what of auxiliary parts does not fit, and puts the model's values in its place."""
    for name in [name for name in {**own, **weights} if is_for_training(name, model)]:
        if name not in own:
            del weights[name]
        elif name not in weights or _shape(weights[name]) != _shape(own[name]):
            weights[name] = own[name]


def _features_or_files(own: Iterable[str], weights: Iterable[str], unfit: Sequence[str]) -> str:
    """What to do if only one of model and weights has encoders, as training on features has none; empty otherwise."""
    wanted, given = (any(name.startswith(_ENCODERS) for name in names) for names in (own, weights))
    if wanted == given or not all(name.startswith(_ENCODERS) for name in unfit):
        return ''
    if wanted:
        return (
            'if it was trained on features, join it with their encoders by `mmav merge CHECKPOINT DIR/encoders.pth '
            '--out FILE`, or read features with --features DIR'
        )
    return 'it has encoders, and the config reads features: leave --features out'


def _of_another_input_size(
    model: nn.Module, weights: Mapping[str, Any], source: str, grids: Mapping[str, Any] | None
) -> dict[str, Tensor]:
    """Position tables trained at another input size, adapted by the modules that own them."""
    adapted = adapt_weights(model, weights, grids=grids)
    if adapted:
        shown = [f'{name}: {how}' for name, (_, how) in adapted.items()]
        print_log(
            f"'{source}' was trained at another input size: {len(adapted)} tables of positions are interpolated "
            f'({", ".join(shown[:NAMES_SHOWN])}{", ..." if len(shown) > NAMES_SHOWN else ""})',
            'current',
        )
    return {name: value for name, (value, _) in adapted.items()}


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
