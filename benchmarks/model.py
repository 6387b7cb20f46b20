"""How long passes of a config's model take, how near that is to the machine's peak, and what memory they take.

Inputs and labels are generated; nothing is read.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from benchmarks.machine import check_device, check_names, matmul_peak
from benchmarks.measure import MODES, TimedPass, build_classifier, quartiles, time_in_turn
from mmav.analysis.complexity import count_model
from mmav.config.amp import PLAIN, WRAPPERS, named_amp
from mmav.config.edits import training_views
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.precision import DTYPES, decide, this_hardware
from mmav.errors import ConfigError, did_you_mean
from mmav.models.backbones.base import input_shape
from mmav.structures import AVDataSample
from mmav.tables import milliseconds, size

# the backward pass has two products for each of the forward pass; the optimizer's operations are not counted
PASSES = dict(forward=1, backward=3, step=3)
NO_MEMORY = 'out of memory'


def own_dtype(cfg: Config, device: str) -> str:
    """The type that a config trains in on a device."""
    return decide(cfg, this_hardware(device)).amp or 'float32'


@dataclass(frozen=True)
class Case:
    """One of ``MODES``, in one of ``DTYPES``, on a batch of this size."""

    mode: str
    dtype: str
    batch_size: int


class _OneBackbone(nn.Module):
    """One backbone with the interface of an :class:`AVClassifier`."""

    def __init__(self, name: str, backbone: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.backbones = nn.ModuleDict({name: backbone})

    def forward(self, inputs: Mapping[str, Tensor], samples: Any = None, mode: str = 'tensor') -> Any:
        cls, patches, _ = self.backbones[self.name](inputs[self.name].flatten(0, 1))
        if mode == 'tensor':
            return cls
        return dict(loss=cls.float().square().mean() + patches.float().square().mean())


class Setup:
    """What the cases share: the model, in evaluation and in training with the same weights, and its optimizer.

    Args:
        cfg: Config of an experiment.
        device: Where the model runs.
        part: Name of the backbone that is measured alone; None for the whole model.
        views: Views of the video in mode 'forward'.
        checkpointing: Whether the backward pass recomputes the blocks.
        compiled: Whether ``torch.compile`` is used.

    Raises:
        ConfigError: The model is of another type or has no such part.
    """

    def __init__(
        self,
        cfg: Config,
        device: torch.device,
        part: str | None = None,
        *,
        views: int = 1,
        checkpointing: bool = False,
        compiled: bool = False,
    ) -> None:
        self.cfg, self.device, self.compiled = cfg, device, compiled
        built = build_classifier(cfg.model)
        if part is not None and part not in built.backbones:
            raise ConfigError(
                f'--part {part}: the model has {" and ".join(built.backbones)}{did_you_mean(part, built.backbones)}'
            )
        self.part, self.head = part, built.head
        names = [part] if part is not None else list(built.backbones)
        self.shapes = {name: input_shape(built.backbones[name]) for name in names}
        trained = training_views(cfg)
        self._views = {
            False: {name: views if len(shape) == 4 else 1 for name, shape in self.shapes.items()},
            True: {name: trained.get(name, 1) for name in self.shapes},
        }
        model = built if part is None else _OneBackbone(part, cast(nn.Module, built.backbones[part]))
        model = model.to(device)
        # checkpointing changes modules in place: each model has its own modules, but they share the parameters
        self.trained = copy.deepcopy(model, memo={id(p): p for p in model.parameters()}).train()
        self.model = model.eval()
        turn_on_activation_checkpointing(self.trained, checkpointing)
        self._optimizer: torch.optim.Optimizer | None = None

    def views(self, mode: str) -> dict[str, int]:
        """Modality -> views of a clip."""
        return self._views[mode != 'forward']

    def macs(self, counted: Mapping[str, int], mode: str) -> int:
        """Multiply-accumulates of the forward pass for one clip in all its views."""
        views = self.views(mode)
        encoders = sum(counted[name] * number for name, number in views.items())
        return encoders if self.part else encoders + (counted['neck'] + counted['head']) * max(views.values())

    def timed_pass(self, case: Case) -> TimedPass:
        """The pass of a case: the model's outputs, or the sum of the config's losses."""
        inputs = self.inputs(case.mode, case.batch_size)
        samples = self.samples(case.batch_size)

        def outputs() -> Any:
            return self.model(inputs)

        def loss() -> Tensor:
            losses = self.trained(inputs, samples, mode='loss')
            return cast(Tensor, sum(value for name, value in losses.items() if 'loss' in name))

        return TimedPass(
            outputs if case.mode == 'forward' else loss,
            case.mode,
            [self.model, self.trained],
            inputs=list(inputs.values()),
            dtype=DTYPES[case.dtype],
            optimizer=self.wrapper(case.dtype) if case.mode == 'step' else None,
            compiled=self.compiled,
        )

    def inputs(self, mode: str, batch_size: int) -> dict[str, Tensor]:
        """Modality -> (B, V, C, *size)."""
        return {
            name: torch.randn(batch_size, number, *self.shapes[name], device=self.device)
            for name, number in self.views(mode).items()
        }

    def samples(self, batch_size: int) -> list[AVDataSample]:
        """Clips with labels of every kind that the head learns."""
        samples = [AVDataSample() for _ in range(batch_size)]
        for (part, head), sample in product(self.head.parts.items(), samples):
            sample.set_gt_label(int(torch.randint(head.num_classes, ())), part)
        return [sample.to(self.device) for sample in samples]

    def wrapper(self, dtype: str) -> OptimWrapper:
        """The config's optimizer, which all cases share, in the wrapper for a type."""
        options = copy.deepcopy(self.cfg.optim_wrapper)
        if dtype != (named_amp(options) or 'float32'):
            for key in ('dtype', 'loss_scale'):
                options.pop(key, None)
            options.type = WRAPPERS.get(dtype, PLAIN)
        options.pop('accumulative_counts', None)  # each pass is a whole step
        logging.disable(logging.INFO)  # MMEngine writes a line for each parameter
        try:
            wrapper = cast(OptimWrapper, build_optim_wrapper(self.trained, options))
        finally:
            logging.disable(logging.NOTSET)
        self._optimizer = wrapper.optimizer = self._optimizer or wrapper.optimizer
        return wrapper

    def drop_gradients(self) -> None:
        """Frees the gradients."""
        self.trained.zero_grad(set_to_none=True)

    def drop_state(self) -> None:
        """Frees the optimizer's state."""
        if self._optimizer is not None:
            self._optimizer.state.clear()


class Passes:
    """Cases that are measured side by side; one that the GPU's memory is too small for is dropped, the others go on.

    Args:
        setup: What they share.
        cases: The cases.
    """

    def __init__(self, setup: Setup, cases: Sequence[Case]) -> None:
        self.setup, self.cases = setup, cases
        self.memory: dict[Case, dict[str, int | None]] = {}
        self._passes: dict[Case, TimedPass] = {}

    def measure_memory(self) -> None:
        """Builds each pass, warms it up, and notes ``peak_bytes`` and ``saved_bytes``."""
        for case in self.cases:
            self._attempt(self._measure, case)
            self.setup.drop_gradients()
            self.setup.drop_state()

    def time(self, rounds: int, progress: bool = False) -> dict[Case, list[float]]:
        """Seconds of each round, of the cases that memory suffices for."""
        ways = {case: partial(self._attempt, self._run, case) for case in self._passes}
        seconds = time_in_turn(ways, rounds, after=self.setup.drop_gradients, progress=progress)
        return {case: seconds[case] for case in self._passes}

    def _measure(self, case: Case) -> None:
        one = self._passes[case] = self.setup.timed_pass(case)
        saved = one.warm_up()
        self.memory[case] = dict(peak_bytes=one.peak_bytes(), saved_bytes=saved)

    def _run(self, case: Case) -> None:
        if case in self._passes:
            self._passes[case]()

    def _attempt(self, run: Callable[[Case], None], case: Case) -> None:
        try:
            return run(case)
        except torch.OutOfMemoryError:
            self._passes.pop(case, None)
        # only here are the frames of the failure, and their tensors, gone
        self.setup.drop_gradients()
        gc.collect()
        torch.cuda.empty_cache()


def measure_model(
    cfg: Config,
    *,
    device: str = 'cpu',
    dtypes: Sequence[str] = (),
    batch_sizes: Sequence[int] = (1,),
    modes: Sequence[str] = MODES,
    rounds: int = 5,
    views: int = 1,
    part: str | None = None,
    checkpointing: bool = False,
    compiled: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Measures the memory of a model's passes and then times them in turn, on inputs that are on the device already.

    Args:
        cfg: Config of an experiment, with numbers of classes; not changed.
        device: 'cpu' or 'cuda'.
        dtypes: Of ``DTYPES``: float32, or autocast; by default the type that the config trains in on the device. TF32
            and cuDNN's benchmark are set as in its training, see :mod:`mmav.engine.precision`.
        batch_sizes: Clips per batch.
        modes: 'forward': probabilities, in inference mode. 'backward': the config's losses and their gradients, with as
            many views of a clip as the training pipeline gives. 'step': the same, and the config's optimizer.
        rounds: How often each case is timed, after a warm-up round.
        views: Views of the video in 'forward'; the audio has one.
        part: Name of a backbone to measure alone; its loss is the mean square of its tokens.
        checkpointing: Whether the backward pass recomputes the blocks.
        compiled: Whether ``torch.compile`` is used.
        progress: Whether to show a progress bar.

    Returns:
        ``peaks``: dtype -> operations per second of a matrix product. ``results``: one dict per case: ``mode``,
        ``dtype``, ``batch_size``, ``views`` (modality -> number), ``operations`` (two per multiply-accumulate, relative
        positions written out), ``peak_bytes`` and ``saved_bytes`` (see :meth:`~benchmarks.measure.TimedPass.peak_bytes`
        and :meth:`~benchmarks.measure.TimedPass.warm_up`), ``seconds`` (of each round), ``median``, ``low``, ``high``
        (quartiles), ``operations_per_second``, ``share_of_peak``; or ``error`` where memory did not suffice.

    Raises:
        ConfigError: The model is of another type or has no such part, or the device is missing or lacks a type.
    """
    init_default_scope('mmav')
    check_names(dtypes, DTYPES, 'types')
    check_names(modes, MODES, 'modes')
    check_device(device, dtypes)
    dtypes = tuple(dtypes) or (own_dtype(cfg, device),)
    setup = Setup(cfg, torch.device(device), part, views=views, checkpointing=checkpointing, compiled=compiled)
    cases = [Case(*values) for values in product(modes, dtypes, batch_sizes)]
    macs = {cost.part: cost.explicit for cost in count_model(cfg.model)}
    passes = Passes(setup, cases)
    # each case may compile twice: in the second pass what a model caches in the first exists already
    often = torch._dynamo.config.patch(recompile_limit=2 * len(cases) + 1) if compiled else contextlib.nullcontext()
    with often, decide(cfg, this_hardware(device)).in_force():
        passes.measure_memory()
        peaks = {dtype: matmul_peak(device, DTYPES[dtype]) for dtype in dtypes}
        seconds = passes.time(rounds, progress)
        # the better of before and after, as the machine may have been busy
        peaks = {dtype: max(peak, matmul_peak(device, DTYPES[dtype])) for dtype, peak in peaks.items()}
    results = []
    for case in cases:
        operations = 2 * PASSES[case.mode] * case.batch_size * setup.macs(macs, case.mode)
        result: dict[str, Any] = dict(vars(case), views=setup.views(case.mode), operations=operations)
        if case not in seconds:
            result.update(error=NO_MEMORY)
        else:
            spread = quartiles(seconds[case])
            speed = operations / spread['median']
            result.update(passes.memory[case], seconds=seconds[case], **spread)
            result.update(operations_per_second=speed, share_of_peak=speed / peaks[case.dtype])
        results.append(result)
    return dict(peaks=peaks, results=results)


def speed_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`measure_model` found; the first row is the header."""
    rows: list[tuple[str, ...]] = [
        ('pass', 'numbers', 'clips', 'ms', 'quartiles', 'ms a clip', 'GFLOP/s', 'of the peak', 'memory', 'kept'),
    ]
    for result in results:
        start = (result['mode'], result['dtype'], str(result['batch_size']))
        if 'error' in result:
            rows.append((*start, result['error'], *[''] * 6))
            continue
        rows.append(
            (
                *start,
                milliseconds(result['median']),
                f'{milliseconds(result["low"])} to {milliseconds(result["high"])}',
                milliseconds(result['median'] / result['batch_size']),
                f'{result["operations_per_second"] / 1e9:.3g}',
                f'{result["share_of_peak"]:.0%}',
                size(result['peak_bytes'], 'MiB'),
                size(result['saved_bytes'], 'MiB'),
            )
        )
    return rows
