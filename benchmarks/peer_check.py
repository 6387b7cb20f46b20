"""Whether two implementations say the same: outputs, gradients, and outputs in half precision.

Max pooling passes a gradient on to the largest of its values. Where two are nearly alike, rounding decides which, and
the gradient jumps from one token to another though the two implementations compute the same function. In float64 no tie
is near enough, so there gradients are compared closely; in float32, whose kernels may be others, with room for jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.peers import Case
from mmav.engine.precision import autocast

# relative: of outputs in float32, of gradients in float64
TOLERANCE = 1e-4
# relative, of gradients in float32: a jump of max pooling's on a clip of 1568 tokens is below 2e-3
JUMPS = 2e-2
# in half precision we may be so many times as far from the float32 reference as that one's own half precision is
HALF_MARGIN = 3.0


def loss_of(out: Tensor) -> Tensor:
    """A loss of (B, D) that weighs each channel differently: a LayerNorm makes the plain mean of squares constant."""
    out = out if out.dtype == torch.float64 else out.float()
    return (out @ torch.linspace(-1.0, 1.0, out.shape[1], device=out.device, dtype=out.dtype)).mean()


def check(
    case: Case,
    models: Mapping[str, nn.Module],
    x: Tensor,
    *,
    gradients: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, dict[str, float]]:
    """Measures how far what models say, and the gradients of the input, are apart; see :func:`disagreements`.

    Args:
        case: Says whether there is anything to compare, and which models may run in half precision only.
        models: Name -> model in float32, ours first; they are so again afterwards.
        x: Input (B, ...).
        gradients: Whether to compare gradients, too.
        dtype: float32 or a half type.

    Returns:
        Peer -> differences: ``output`` in float32, the largest over the peer's largest value; ``gradient`` in float64,
        where all run in that, and ``gradient_float32``, the norm of the difference over the norm; in a half type also
        ``half``, of our output from the reference, which is the first peer in float32, and ``half_peer``, of the peer's
        own.
    """
    if not case.same:
        return {}
    ours, *peers = models
    found = {name: _run(models[name], x, gradients, double=case.double) for name in models if name not in case.optional}
    reference = found[next(name for name in peers if name in found)]['output']
    halves = {}
    if dtype != torch.float32:
        halves = {name: _distance(_run(model, x, False, dtype)['output'], reference) for name, model in models.items()}
    result: dict[str, dict[str, float]] = {}
    for peer in peers:
        result[peer] = {}
        if peer in found:
            result[peer] = {key: DISTANCES[key](found[ours][key], found[peer][key]) for key in found[peer]}
        if halves:
            result[peer] |= dict(half=halves[ours], half_peer=halves[peer])
    return result


def disagreements(case: Case, ours: str, peer: str, differences: Mapping[str, float]) -> list[str]:
    """What says that two models do not compute the same, in a line each; none where they do.

    Args:
        case: What is compared, for the text.
        ours: Name of our model.
        peer: Name of the other.
        differences: Of the two, see :func:`check`.
    """
    texts = []
    for key, distance in differences.items():
        limit = LIMITS.get(key)
        if limit is not None and not distance <= limit:  # NaN is no agreement
            what = key.replace('_', 's in ') if '_' in key else f'{key}s'
            texts.append(
                f'{case.what}: {what} of {ours} and {peer} differ by {distance:.1e}, more than {limit:g}: '
                'they do not compute the same'
            )
    if 'half' in differences and not differences['half'] <= HALF_MARGIN * differences['half_peer']:
        texts.append(
            f'{case.what}: in half precision outputs of {ours} are {differences["half"]:.1e} off those in float32, '
            f'more than {HALF_MARGIN:g} times the {differences["half_peer"]:.1e} of {peer}'
        )
    return texts


def _run(
    model: nn.Module, x: Tensor, gradients: bool, dtype: torch.dtype = torch.float32, *, double: bool = True
) -> dict[str, Tensor]:
    # what passes for float32 in a GPU's convolutions by default has the precision of bfloat16
    exact: Callable = torch.backends.cudnn.flags
    with exact(enabled=True, allow_tf32=False), autocast(x.device, dtype):
        output, gradient = _pass(model, x, gradients)
    result = dict(output=output.float())
    if gradient is None:
        return result
    if double:
        try:
            _, precise = _pass(model.double(), x.double(), gradients)
        finally:
            model.float()
        assert precise is not None
        result['gradient'] = precise
    result['gradient_float32'] = gradient
    return result


def _pass(model: nn.Module, x: Tensor, gradients: bool) -> tuple[Tensor, Tensor | None]:
    """The output, and the gradient of the input where it is asked for."""
    x = x.detach().clone().requires_grad_(gradients)
    model.train(gradients)
    with torch.set_grad_enabled(gradients):
        out = model(x)
    return out.detach(), torch.autograd.grad(loss_of(out), x)[0] if gradients else None


def _distance(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


def _distance_by_norm(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())


DISTANCES = dict(output=_distance, gradient=_distance_by_norm, gradient_float32=_distance_by_norm)
LIMITS = dict(output=TOLERANCE, gradient=TOLERANCE, gradient_float32=JUMPS)
