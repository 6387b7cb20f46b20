"""Timing our encoders and others in turn, after a check that they compute the same.

Max pooling passes a gradient on to the largest of its values. Where two are nearly equal, rounding decides which, and
the gradient jumps from one token to another though the two implementations compute the same function. In float64 no tie
is close enough, so gradients are compared tightly there; in float32, where kernels differ, with room for jumps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import TimedPass, ratio, time_in_turn
from benchmarks.peers import Case, DoesNotFit
from mmav.engine.precision import autocast
from mmav.tables import size

# relative: of outputs in float32, of gradients in float64
TOLERANCE = 1e-4
# relative, of gradients in float32: a jump of max pooling's on a clip of 1568 tokens is below 2e-3
JUMPS = 2e-2
# in half precision we may be so many times as far from the float32 reference as the peer's own half precision is
HALF_MARGIN = 3.0
_CHECKED = 2  # inputs that are checked


def loss_of(out: Tensor) -> Tensor:
    """A loss of (B, D) that weighs channels differently, as the mean square of a LayerNorm's output is constant."""
    out = out if out.dtype == torch.float64 else out.float()
    return (out @ torch.linspace(-1.0, 1.0, out.shape[1], device=out.device, dtype=out.dtype)).mean()


def _distance(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


def _distance_by_norm(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())


DISTANCES = dict(output=_distance, gradient=_distance_by_norm, gradient_float32=_distance_by_norm)
LIMITS = dict(output=TOLERANCE, gradient=TOLERANCE, gradient_float32=JUMPS)


def check(
    case: Case,
    models: Mapping[str, nn.Module],
    x: Tensor,
    *,
    gradients: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, dict[str, float]]:
    """Measures how far outputs of models, and gradients of their input, are apart; see :func:`disagreements`.

    Args:
        case: Says whether there is anything to compare, and which models may run in half precision only.
        models: Name -> model in float32, ours first; they are in float32 again afterwards.
        x: Input (B, ...).
        gradients: Whether to compare gradients as well.
        dtype: float32 or a half type.

    Returns:
        Peer -> differences: ``output`` in float32, the largest over the peer's largest value; ``gradient`` in float64,
        if all models run in it, and ``gradient_float32``, the norm of the difference over the norm; in a half type also
        ``half``, of our output from the reference (the first peer in float32), and ``half_peer``, of the peer's own.
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
    """Lines that say where two models do not compute the same; empty where they do.

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
    # by default a GPU's convolutions in float32 have the precision of TF32
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
    """The output, and the gradient of the input on request."""
    x = x.detach().clone().requires_grad_(gradients)
    model.train(gradients)
    with torch.set_grad_enabled(gradients):
        out = model(x)
    return out.detach(), torch.autograd.grad(loss_of(out), x)[0] if gradients else None


def model_pass(model: nn.Module, mode: str, x: Tensor, *, dtype: torch.dtype = torch.float32) -> TimedPass:
    """A pass of a model that makes (B, D) of ``x``; in mode 'step' with fused AdamW."""
    model.train(mode != 'forward')
    # so small a rate that the weights stay what they are
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=True) if mode == 'step' else None
    return TimedPass(lambda: model(x), mode, [model], inputs=[x], loss=loss_of, dtype=dtype, optimizer=optimizer)


def compare(
    case: Case,
    *,
    modes: Sequence[str] = (),
    batch_size: int = 1,
    rounds: int = 7,
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Checks and times the models of a case.

    Args:
        case: The models; they are moved to ``device``.
        modes: Of ``MODES``; by default those of the case.
        batch_size: Inputs per batch.
        rounds: How often each model is timed, in turn.
        device: 'cpu' or 'cuda'.
        dtype: float32, or a half type for autocast. In any case the models are compared in float32 first.
        progress: Whether to show progress bars.

    Returns:
        One dict per mode and peer: ``mode``, ``ours``, ``peer`` (names), ``seconds`` (name -> those of each round),
        ``median`` (name -> seconds), ``ratio_of_medians`` (above 1 where ours is faster), ``ratio`` (quartiles and
        extremes of the ratios within the rounds), ``fastest`` (whether no other peer is faster), ``differences`` (see
        :func:`check`), ``disagreements`` (lines, see :func:`disagreements`) and ``peak_bytes`` (name -> bytes, see
        :func:`peak_bytes`).

    Raises:
        DoesNotFit: The GPU's memory did not suffice.
    """
    try:
        return _compare(case, tuple(modes) or case.modes, batch_size, rounds, device, dtype, progress)
    except torch.OutOfMemoryError as error:
        raise DoesNotFit(f'{case.what}: {batch_size} inputs do not fit into the GPU; lower --batch-size') from error


def _compare(
    case: Case, modes: Sequence[str], batch_size: int, rounds: int, device: str, dtype: torch.dtype, progress: bool
) -> list[dict[str, Any]]:
    x = torch.randn(batch_size, *case.shape, generator=torch.Generator().manual_seed(1)).to(device)
    ours = next(iter(case.contenders))
    models = {name: model.to(device) for name, model in case.contenders.items()}
    for name in case.optional & set(models):
        if not all(_runs(model_pass(models[name], mode, x[:_CHECKED], dtype=dtype)) for mode in modes):
            models.pop(name)
    everything = nn.ModuleList(models.values())
    differences = check(case, models, x[:_CHECKED], gradients=set(modes) != {'forward'}, dtype=dtype)
    results = []
    for mode in modes:
        peaks = peak_bytes(models, mode, x, dtype=dtype)
        passes = {name: model_pass(model, mode, x, dtype=dtype) for name, model in models.items()}
        seconds = time_in_turn(passes, rounds, after=everything.zero_grad, progress=progress)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        peers = [name for name in models if name != ours]
        for peer in sorted(peers, key=median.__getitem__):
            apart = differences.get(peer, {})
            result: dict[str, Any] = dict(mode=mode, ours=ours, peer=peer)
            figures: dict[str, Mapping[str, Any]] = dict(seconds=seconds, median=median, peak_bytes=peaks)
            for key, values in figures.items():
                result[key] = {name: values[name] for name in (ours, peer)}
            result |= dict(ratio_of_medians=median[peer] / median[ours], ratio=ratio(seconds[peer], seconds[ours]))
            result |= dict(fastest=median[peer] == min(median[name] for name in peers))
            result |= dict(differences=apart, disagreements=disagreements(case, ours, peer, apart))
            results.append(result)
    return results


def peak_bytes(
    models: Mapping[str, nn.Module], mode: str, x: Tensor, *, dtype: torch.dtype = torch.float32
) -> dict[str, int]:
    """The most bytes that each model's pass takes after a warm-up, by PyTorch's allocator.

    Weights, input, what the pass needs, gradients and the optimizer's state. Meanwhile other models leave the GPU.
    """
    gpu, peaks = x.device.type == 'cuda', {}
    for model in models.values() if gpu else ():
        model.cpu()
    for name, model in models.items():
        one = model_pass(model.to(x.device), mode, x, dtype=dtype)
        if gpu or mode == 'step':
            one()
            one.drop_gradients()
        if gpu:
            torch.cuda.empty_cache()
        peaks[name] = one.peak_bytes()
        one.drop_gradients()
        if gpu:
            model.cpu()
    for model in models.values():
        model.to(x.device)
    return peaks


def _runs(one: TimedPass) -> bool:
    try:
        one()
    except (ImportError, RuntimeError, TypeError, ValueError):
        return False
    finally:
        one.drop_gradients()
    return True


def timing_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table of what :func:`compare` found, with the ``case`` of each; the first row is the header."""
    header = ['case', 'timed', 'ours', 'time', 'compared with', 'time', 'ratio', 'quartiles', 'extremes', 'differ by']
    rows = [[*header, 'peak', 'peak', 'ratio']]
    for result in results:
        ours, peer, spread = result['ours'], result['peer'], result['ratio']
        alone = sum((r['case'], r['mode']) == (result['case'], result['mode']) for r in results) == 1
        peaks = [result['peak_bytes'][name] for name in (ours, peer)]
        row = [
            result['case'],
            result['mode'],
            ours,
            _seconds(result['median'][ours]),
            peer + ('' if alone or not result['fastest'] else ' (fastest)'),
            _seconds(result['median'][peer]),
            f'{result["ratio_of_medians"]:.2f}',
            f'{spread["low"]:.2f} to {spread["high"]:.2f}',
            f'{spread["least"]:.2f} to {spread["greatest"]:.2f}',
            _differences(result['differences']) + (' (!)' if result.get('disagreements') else ''),
            *(size(peak, 'GB', 2) for peak in peaks),
            f'{peaks[1] / peaks[0]:.2f}',
        ]
        rows.append(row)
    return rows


def _seconds(value: float) -> str:
    return f'{value:.2f} s' if value >= 1 else f'{value * 1e3:.3g} ms'


def _differences(values: Mapping[str, float]) -> str:
    """``4e-07``, and in half precision ``4e-07; 5e-03 / 6e-03``, ours and the peer's distance from float32."""
    parts = [f'{values["output"]:.0e}'] if 'output' in values else []
    if 'half' in values:
        parts.append(f'{values["half"]:.0e} / {values["half_peer"]:.0e}')
    return '; '.join(parts) or '-'
