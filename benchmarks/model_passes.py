"""Passes of a config's model over generated inputs: forward, backward, a step of its optimizer."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from benchmarks.speed_report import machine
from benchmarks.training_cost import live_bytes, saved_bytes
from mmav.config.amp import PLAIN, WRAPPERS, named_amp
from mmav.config.edits import training_views
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.precision import DTYPES, autocast, decide, this_hardware
from mmav.errors import ConfigError, did_you_mean
from mmav.models.av_classifier import AVClassifier
from mmav.models.heads import heads_of
from mmav.models.input_shape import input_shape
from mmav.registry import MODELS
from mmav.structures import AVDataSample

MODES = ('forward', 'backward', 'step')


@dataclass(frozen=True)
class Case:
    """One of ``MODES``, in one of ``DTYPES``, with so many clips."""

    mode: str
    dtype: str
    batch_size: int


def check_device(device: str, dtypes: Iterable[str]) -> None:
    """Fails where a device, or a type on it, cannot be measured.

    Raises:
        ConfigError: There is no GPU, or float16 is asked for on a CPU.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: there is no GPU that PyTorch can use; take --device cpu')
    if device == 'cpu' and 'float16' in dtypes:
        raise ConfigError('float16 needs a GPU: take --dtype bfloat16 or float32')


def place(device: str) -> str:
    """Where a pass runs, in words: the GPU's name, or the number of threads."""
    return torch.cuda.get_device_name() if device == 'cuda' else f'{torch.get_num_threads()} threads of the CPU'


def about(options: Mapping[str, Any], device: str) -> dict[str, Any]:
    """What a file with figures tells of how they were taken: options of the tool, device, threads, versions."""
    given = {key: value for key, value in options.items() if key not in ('json', 'page')}
    return dict(given, device=device, where=place(device), threads=torch.get_num_threads(), **machine())


def own_dtype(cfg: Config, device: str) -> str:
    """The type that a config trains in on a device."""
    return decide(cfg, this_hardware(device)).amp or 'float32'


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
        cfg: Config of the experiment.
        device: Where the model runs.
        part: Name of the backbone that is taken alone; None for the whole model.
        views: Views of the video where nothing is trained.
        checkpointing: Whether blocks are computed again in the backward pass.
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
        built = MODELS.build({key: value for key, value in cfg.model.items() if key != 'data_preprocessor'})
        if not isinstance(built, AVClassifier):
            raise ConfigError(f'model.type={cfg.model.get("type")!r}: only an AVClassifier can be measured')
        if part is not None and part not in built.backbones:
            raise ConfigError(
                f'--part {part}: the model has {" and ".join(built.backbones)}{did_you_mean(part, built.backbones)}'
            )
        self.part, self.head = part, built.head
        names = [part] if part is not None else list(built.backbones)
        self.shapes = {name: input_shape(cfg.model.backbones[name]) for name in names}
        trained = training_views(cfg)
        self._views = {
            False: {name: views if len(shape) == 4 else 1 for name, shape in self.shapes.items()},
            True: {name: trained.get(name, 1) for name in self.shapes},
        }
        model = built if part is None else _OneBackbone(part, cast(nn.Module, built.backbones[part]))
        model = model.to(device)
        # checkpointing changes modules in place: each has modules of its own, but the parameters are shared
        self.trained = copy.deepcopy(model, memo={id(p): p for p in model.parameters()}).train()
        self.model = model.eval()
        turn_on_activation_checkpointing(self.trained, checkpointing)
        self._optimizer: torch.optim.Optimizer | None = None

    def views(self, mode: str) -> dict[str, int]:
        """Modality -> views of a clip."""
        return self._views[mode != 'forward']

    def macs(self, counted: Mapping[str, int], mode: str) -> int:
        """Multiply-accumulates of the forward pass of one clip in all its views."""
        views = self.views(mode)
        encoders = sum(counted[name] * number for name, number in views.items())
        return encoders if self.part else encoders + (counted['neck'] + counted['head']) * max(views.values())

    def inputs(self, mode: str, batch_size: int) -> dict[str, Tensor]:
        """Modality -> (B, V, C, *size)."""
        return {
            name: torch.randn(batch_size, number, *self.shapes[name], device=self.device)
            for name, number in self.views(mode).items()
        }

    def samples(self, batch_size: int) -> list[AVDataSample]:
        """Clips with labels of every kind that the head learns."""
        samples = [AVDataSample() for _ in range(batch_size)]
        for (part, head), sample in product(heads_of(self.head).items(), samples):
            sample.set_gt_label(int(torch.randint(head.num_classes, ())), part)
        return [sample.to(self.device) for sample in samples]

    def wrapper(self, dtype: str) -> OptimWrapper:
        """The config's optimizer, which all share, in the wrapper for a type."""
        options = copy.deepcopy(self.cfg.optim_wrapper)
        if dtype != (named_amp(options) or 'float32'):
            for key in ('dtype', 'loss_scale'):
                options.pop(key, None)
            options.type = WRAPPERS.get(dtype, PLAIN)
        options.pop('accumulative_counts', None)  # every step is one
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
        """Frees what the optimizer keeps."""
        if self._optimizer is not None:
            self._optimizer.state.clear()

    def bytes(self, inputs: Mapping[str, Tensor]) -> int:
        """What is there before a case runs: weights, optimizer's state and inputs."""
        tensors: list[Any] = [*self.model.parameters(), *self.model.buffers(), *self.trained.buffers()]
        tensors += inputs.values()
        if self._optimizer is not None:
            tensors += [value for state in self._optimizer.state.values() for value in state.values()]
        storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


class Run:
    """One case, which a call runs. Where the GPU's memory does not suffice, it fails for good, and the others go on.

    Args:
        setup: What it shares with the others.
        case: Which it is.
    """

    def __init__(self, setup: Setup, case: Case) -> None:
        self.setup, self.case, self.failed = setup, case, False
        self.inputs: dict[str, Tensor] = {}
        self.wrapper: OptimWrapper | None = None
        self.tensor, self.loss = (torch.compile(f) if setup.compiled else f for f in (self._tensor, self._loss))

    def _tensor(self) -> Any:
        return self.setup.model(self.inputs)

    def _loss(self) -> Tensor:
        losses = self.setup.trained(self.inputs, self.samples, mode='loss')
        return cast(Tensor, sum(value for name, value in losses.items() if 'loss' in name))

    def _forward(self) -> Any:
        dtype, training = DTYPES[self.case.dtype], self.case.mode != 'forward'
        with torch.inference_mode(not training), autocast(self.setup.device, dtype):
            return self.loss() if training else self.tensor()

    def _run(self) -> None:
        self._finish(self._forward())

    def _finish(self, result: Any) -> None:
        if self.wrapper is not None:
            self.wrapper.update_params(result)
            # what a step leaves for the log is not to be freed by the next one, where memory is counted
            getattr(self.wrapper, 'take_grad_norm', dict)()
        elif self.case.mode != 'forward':
            result.backward()

    def __call__(self) -> None:
        if self.failed:
            return
        try:
            self._run()
        except torch.OutOfMemoryError:
            self._fail()

    def _fail(self) -> None:
        self.failed, self.inputs, self.wrapper = True, {}, None
        self.setup.drop_gradients()
        gc.collect()
        torch.cuda.empty_cache()

    def measure_memory(self) -> dict[str, int | None]:
        """Makes what the case needs, and runs it twice, to warm it up and to see its memory."""
        try:
            self.inputs = self.setup.inputs(self.case.mode, self.case.batch_size)
            self.samples = self.setup.samples(self.case.batch_size)
            if self.case.mode == 'step':
                self.wrapper = self.setup.wrapper(self.case.dtype)
            saved = None
            if self.case.mode != 'forward' and not self.setup.compiled:
                saved, loss = saved_bytes(self._forward, list(self.setup.model.parameters()))
                self._finish(loss)
                del loss
            else:
                self._run()
            self.setup.drop_gradients()
            peak = self._peak()
        except torch.OutOfMemoryError:
            self._fail()
            return {}
        finally:
            self.setup.drop_gradients()
            self.setup.drop_state()
        return dict(peak_bytes=peak, saved_bytes=saved)

    def _peak(self) -> int:
        if self.setup.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
            self._run()
            return torch.cuda.max_memory_allocated()
        return self.setup.bytes(self.inputs) + live_bytes(self._run)
