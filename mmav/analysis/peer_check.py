"""Whether two implementations say the same: outputs, gradients, and outputs in half precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mmav.analysis.peers import Case
from mmav.analysis.training_cost import autocast
from mmav.errors import MmavError

# relative, in float32
TOLERANCE = 1e-4
# in half precision we may be so many times as far from the float32 reference as that one's own half precision is
HALF_MARGIN = 3.0


def loss_of(out: Tensor) -> Tensor:
    """A loss of (B, D) that weighs each channel differently: a LayerNorm makes the plain mean of squares constant."""
    out = out.float()
    return (out @ torch.linspace(-1.0, 1.0, out.shape[1], device=out.device)).mean()


def check(
    case: Case,
    models: Mapping[str, nn.Module],
    x: Tensor,
    *,
    gradients: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, dict[str, float]]:
    """Compares what models say, and the gradients of the input, in float32; in a half type, what they say then.

    Args:
        case: Says whether there is anything to compare, and which models may run in half precision only.
        models: Name -> model, ours first.
        x: Input (B, ...).
        gradients: Whether to compare gradients, too.
        dtype: float32 or a half type.

    Returns:
        Peer -> differences: ``output``, the largest over the peer's largest value, and ``gradient``, the norm of the
        difference over the norm; in a half type also ``half``, of our output from the reference, which is the first
        peer in float32, and ``half_peer``, of the peer's own.

    Raises:
        MmavError: Above ``TOLERANCE``, or ours in a half type further off than ``HALF_MARGIN`` times the peer.
    """
    if not case.same:
        return {}
    ours, *peers = models
    found = {name: _run(models[name], x, gradients) for name in models if name not in case.optional}
    reference = found[next(name for name in peers if name in found)]['output']
    halves = {}
    if dtype != torch.float32:
        halves = {name: _distance(_run(model, x, False, dtype)['output'], reference) for name, model in models.items()}
    result: dict[str, dict[str, float]] = {}
    for peer in peers:
        result[peer] = {}
        if peer in found:
            result[peer] = {key: DISTANCES[key](found[ours][key], found[peer][key]) for key in found[peer]}
        for key, distance in result[peer].items():
            if not distance <= TOLERANCE:  # NaN is no agreement
                raise MmavError(
                    f'{case.what}: {key}s of {ours} and {peer} differ by {distance:.1e}, more than {TOLERANCE:g}: '
                    'they do not compute the same'
                )
        if halves:
            result[peer] |= dict(half=halves[ours], half_peer=halves[peer])
            if not halves[ours] <= HALF_MARGIN * halves[peer]:
                raise MmavError(
                    f'{case.what}: in {str(dtype).removeprefix("torch.")} outputs of {ours} are {halves[ours]:.1e} '
                    f'off those in float32, more than {HALF_MARGIN:g} times the {halves[peer]:.1e} of {peer}'
                )
    return result


def _run(model: nn.Module, x: Tensor, gradients: bool, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    x = x.detach().clone().requires_grad_(gradients)
    model.train(gradients)
    # what passes for float32 in a GPU's convolutions by default has the precision of bfloat16
    exact: Callable = torch.backends.cudnn.flags
    with exact(enabled=True, allow_tf32=False), torch.set_grad_enabled(gradients), autocast(x.device, dtype):
        out = model(x)
    result = dict(output=out.detach().float())
    if gradients:
        (result['gradient'],) = torch.autograd.grad(loss_of(out), x)
    return result


def _distance(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


def _distance_by_norm(value: Tensor, reference: Tensor) -> float:
    """For gradients: where max pooling finds two values nearly alike, rounding decides which one has the gradient."""
    return float((value - reference).norm() / reference.norm())


DISTANCES = dict(output=_distance, gradient=_distance_by_norm)
