"""How benchmarks measure: passes of a model, rounds in which they take turns, their ratios, and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from mmav.engine.precision import autocast
from mmav.errors import ConfigError
from mmav.models.av_classifier import AVClassifier
from mmav.models.ops.lean import watching
from mmav.registry import MODELS

MODES = ('forward', 'backward', 'step')

Way = TypeVar('Way', bound=Hashable)


def time_in_turn(
    ways: Mapping[Way, Callable[[], Any]],
    rounds: int,
    *,
    after: Callable[[], None] | None = None,
    progress: bool = False,
    clock: Callable[[], float] | None = None,
) -> dict[Way, list[float]]:
    """Runs each way once per round, so that a slow spell of the machine slows them all; the first round is a warm-up.

    Args:
        ways: What is timed. Work on a GPU is waited for.
        rounds: How often each is timed.
        after: Called after each run, outside the measured time, to drop what must not exist in the next run.
        progress: Whether to show a progress bar.
        clock: What tells seconds, ``time.perf_counter`` if not given; ``time.process_time`` for those of the processor,
            which others on the machine do not lengthen; it knows no GPU.

    Returns:
        Way -> seconds in each round.
    """
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    clock = clock or time.perf_counter
    for number in tqdm(range(rounds + 1), desc='rounds', unit='round', disable=not progress):
        for way, run in ways.items():
            wait_for_gpu()
            begin = clock()
            run()
            wait_for_gpu()
            duration = clock() - begin
            if after is not None:
                after()
            if number:
                seconds[way].append(duration)
    return seconds


def wait_for_gpu() -> None:
    """Waits until the GPU has finished its queue; returns at once if there is none or it was not used."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """``median``, and the quartiles ``low`` and ``high``.

    >>> quartiles([1.0, 2.0, 3.0])
    {'median': 2.0, 'low': 1.5, 'high': 2.5}
    """
    low, median, high = np.percentile(values, [25, 50, 75])
    return dict(median=float(median), low=float(low), high=float(high))


def ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """How many times as long one way took as another: quartiles and extremes of the ratios within the rounds.

    >>> ratio([2.0, 4.0, 6.0], [1.0, 2.0, 2.0])
    {'median': 2.0, 'low': 2.0, 'high': 2.5, 'least': 2.0, 'greatest': 3.0}
    """
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return dict(quartiles(ratios), least=min(ratios), greatest=max(ratios))


def saved_bytes(run: Callable[[], Any], parameters: Iterable[Tensor] = ()) -> tuple[int, Any]:
    """Counts the bytes that a forward pass keeps for its backward pass, and returns its result.

    Tensors that share memory count once; ``parameters``, which exist anyway, do not count.

    >>> x = torch.zeros(10, requires_grad=True)
    >>> saved_bytes(lambda: x.exp())[0]  # exp keeps its result: 10 numbers of 4 bytes
    40
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), watching(pack):
        result = run()
    return sum(held.values()), result


def live_bytes(run: Callable[[], Any]) -> int:
    """The most bytes that a call on the CPU allocates beyond what existed before it.

    Tensors' memory, as PyTorch's profiler reports it, whoever holds them; memory that libraries allocate for
    themselves and Python objects do not count.

    >>> live_bytes(lambda: torch.zeros(10) + torch.zeros(10))  # three tensors of 10 numbers of 4 bytes
    120
    """
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # it would print when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for event in sorted((event for event in events if event.name() == '[memory]'), key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


class TimedPass:
    """One pass of a model, to be timed or to have its memory measured; a call runs it.

    Gradients stay after a call, see :meth:`drop_gradients`.

    Args:
        run: Computes the outputs, or what ``loss`` takes.
        mode: 'forward', in inference mode; 'backward', forward and backward pass; 'step', and the optimizer's step.
        modules: Hold the parameters and buffers.
        inputs: What ``run`` reads, on the device where it runs.
        loss: Makes the loss of what ``run`` returns, outside autocast; by default ``run`` returns the loss.
        dtype: float32, or a half type for autocast.
        optimizer: In mode 'step': an optimizer, or MMEngine's wrapper, which may scale losses and clip gradients.
        compiled: Whether ``torch.compile`` compiles ``run``.
    """

    def __init__(
        self,
        run: Callable[[], Any],
        mode: str,
        modules: Sequence[nn.Module],
        *,
        inputs: Sequence[Tensor],
        loss: Callable[[Any], Tensor] = lambda result: result,
        dtype: torch.dtype = torch.float32,
        optimizer: torch.optim.Optimizer | OptimWrapper | None = None,
        compiled: bool = False,
    ) -> None:
        self.run = torch.compile(run) if compiled else run
        self.mode, self.modules, self.inputs, self.loss = mode, modules, inputs, loss
        self.dtype, self.optimizer, self.compiled = dtype, optimizer, compiled
        self.device = inputs[0].device

    def __call__(self) -> None:
        self._finish(self.forward())

    def forward(self) -> Any:
        """The forward pass alone."""
        with torch.inference_mode(self.mode == 'forward'), autocast(self.device, self.dtype):
            return self.run()

    def _finish(self, result: Any) -> None:
        if self.mode == 'forward':
            return
        loss = self.loss(result)
        if isinstance(self.optimizer, OptimWrapper):
            self.optimizer.update_params(loss)
            # the next step must not free what this one leaves for the log, as memory is counted there
            getattr(self.optimizer, 'take_grad_norm', dict)()
            return
        loss.backward()
        if self.optimizer is not None:
            self.optimizer.step()

    def warm_up(self) -> int | None:
        """Runs the pass once and drops the gradients.

        Returns:
            Bytes that the forward pass keeps for the backward pass; None in mode 'forward' and for compiled code, where
            they cannot be counted.
        """
        saved = None
        if self.mode == 'forward' or self.compiled:
            self()
        else:
            saved, result = saved_bytes(self.forward, [p for module in self.modules for p in module.parameters()])
            self._finish(result)
        self.drop_gradients()
        return saved

    def peak_bytes(self) -> int:
        """Runs the pass, and returns the most bytes that tensors take at once, those that existed before included.

        On a GPU, what PyTorch's allocator held at most, other models included. On a CPU, :meth:`held_bytes` and
        :func:`live_bytes`.
        """
        if self.device.type != 'cuda':
            return self.held_bytes() + live_bytes(self)
        torch.cuda.reset_peak_memory_stats()
        self()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()

    def held_bytes(self) -> int:
        """Bytes of weights, buffers, inputs and the optimizer's state; shared memory counts once."""
        tensors: list[Any] = [*self.inputs]
        for module in self.modules:
            tensors += [*module.parameters(), *module.buffers()]
        if self.optimizer is not None:
            optimizer = getattr(self.optimizer, 'optimizer', self.optimizer)
            tensors += [value for state in optimizer.state.values() for value in state.values()]
        storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    def drop_gradients(self) -> None:
        """Frees the gradients."""
        for module in self.modules:
            module.zero_grad(set_to_none=True)


def build_classifier(model: Mapping[str, Any]) -> AVClassifier:
    """The model of a config, without its data preprocessor.

    Raises:
        ConfigError: It is of another type.
    """
    built = MODELS.build({key: value for key, value in model.items() if key != 'data_preprocessor'})
    if not isinstance(built, AVClassifier):
        raise ConfigError(f'model.type={model.get("type")!r}: only an AVClassifier can be measured')
    return built
