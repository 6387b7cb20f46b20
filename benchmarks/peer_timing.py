"""Timing our encoders and others in turn, after a check that they say the same."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peer_check import check, disagreements, loss_of
from benchmarks.peers import Case, DoesNotFit
from benchmarks.rounds import ratio, time_in_turn
from benchmarks.training_cost import live_bytes
from mmav.engine.precision import autocast

_CHECKED = 2  # inputs that are checked


class Pass:
    """What is timed: one call of a model.

    Args:
        model: Makes (B, D) of the input.
        mode: 'forward' in inference mode, 'backward' for forward and backward pass, 'step' for a step of fused AdamW,
            too.
        x: The input.
        dtype: float32, or a half type for autocast.
    """

    def __init__(self, model: nn.Module, mode: str, x: Tensor, *, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.mode, self.x, self.dtype = model, mode, x, dtype
        # so small a rate that the weights stay what they are
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=True) if mode == 'step' else None

    def __call__(self) -> None:
        """Runs it; gradients stay, see :meth:`drop_gradients`."""
        self.model.train(self.mode != 'forward')
        if self.mode == 'forward':
            with torch.inference_mode(), autocast(self.x.device, self.dtype):
                self.model(self.x)
            return
        with autocast(self.x.device, self.dtype):
            out = self.model(self.x)
        loss_of(out).backward()
        if self.optimizer is not None:
            self.optimizer.step()

    def held_bytes(self) -> int:
        """Weights, input and the optimizer's state."""
        tensors = [*self.model.parameters(), *self.model.buffers(), self.x]
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        return sum(tensor.nbytes for tensor in tensors)

    def drop_gradients(self) -> None:
        """Frees the gradients."""
        self.model.zero_grad(set_to_none=True)


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
        modes: Of ``MODES``; those of the case if empty.
        batch_size: Inputs at once.
        rounds: How often each model is timed, in turn.
        device: 'cpu' or 'cuda'.
        dtype: float32, or a half type for autocast. The check is made in float32 first, in any case.
        progress: Whether to show progress bars.

    Returns:
        One dict for every mode and every other model: ``mode``, ``ours``, ``peer`` (names), ``seconds`` (name ->
        those of each round), ``median`` (name -> seconds), ``ratio_of_medians`` (above 1 where ours is faster),
        ``ratio`` (quartiles and extremes of the ratios within the rounds), ``fastest`` (whether no other peer is
        faster), ``differences`` (see :func:`~benchmarks.peer_check.check`), ``disagreements`` (what they say against
        the two models' computing the same, in lines) and ``peak_bytes`` (name -> bytes, see :func:`peak_bytes`).

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
        if not all(_runs(Pass(models[name], mode, x[:_CHECKED], dtype=dtype)) for mode in modes):
            models.pop(name)
    everything = nn.ModuleList(models.values())
    differences = check(case, models, x[:_CHECKED], gradients=set(modes) != {'forward'}, dtype=dtype)
    results = []
    for mode in modes:
        peaks = peak_bytes(models, mode, x, dtype=dtype)
        passes = {name: Pass(model, mode, x, dtype=dtype) for name, model in models.items()}
        seconds = time_in_turn(passes, rounds, after=everything.zero_grad, progress=progress)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        peers = [name for name in models if name != ours]
        for peer in sorted(peers, key=median.__getitem__):
            results.append(
                dict(
                    mode=mode,
                    ours=ours,
                    peer=peer,
                    seconds={name: seconds[name] for name in (ours, peer)},
                    median={name: median[name] for name in (ours, peer)},
                    ratio_of_medians=median[peer] / median[ours],
                    ratio=ratio(seconds[peer], seconds[ours]),
                    fastest=median[peer] == min(median[name] for name in peers),
                    differences=differences.get(peer, {}),
                    disagreements=disagreements(case, ours, peer, differences.get(peer, {})),
                    peak_bytes={name: peaks[name] for name in (ours, peer)},
                )
            )
    return results


def peak_bytes(
    models: Mapping[str, nn.Module], mode: str, x: Tensor, *, dtype: torch.dtype = torch.float32
) -> dict[str, int]:
    """Bytes that each model's pass takes at most when it is warm, by PyTorch's allocator.

    Weights, input, what the pass needs, gradients and the optimizer's state. On a GPU the other models are not there.
    """
    gpu, peaks = x.device.type == 'cuda', {}
    if gpu:
        for model in models.values():
            model.cpu()
    for name, model in models.items():
        one = Pass(model.to(x.device), mode, x, dtype=dtype)
        if gpu or mode == 'step':
            one()
            one.drop_gradients()
        if gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            one()
            torch.cuda.synchronize()
            peaks[name] = torch.cuda.max_memory_allocated()
        else:
            peaks[name] = one.held_bytes() + live_bytes(one)
        one.drop_gradients()
        if gpu:
            model.cpu()
    for model in models.values():
        model.to(x.device)
    return peaks


def _runs(one: Pass) -> bool:
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
            *(f'{peak / 1e9:.2f} GB' for peak in peaks),
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
