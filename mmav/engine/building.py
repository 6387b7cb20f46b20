"""How the runner sets up its parts: processes, model wrapper, loops, data loaders, optimizer, initial weights."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, is_main_process
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmav.checkpoints import find_resume, leaves_out, load_checkpoint_file, weights_of
from mmav.engine import patches
from mmav.engine.class_balance import balance_losses
from mmav.engine.compilation import compile_losses, compile_options
from mmav.engine.console import shorten_console
from mmav.engine.distributed.fsdp import is_spread, spread_model
from mmav.engine.distributed.group import init_gloo, without_gpu
from mmav.engine.hooks.seed import seed_datasets
from mmav.engine.loader_check import check_contrast, check_loader, follow_loader
from mmav.engine.precision import Numbers, decide, this_hardware, weakest, with_numbers
from mmav.engine.resuming import schedules
from mmav.engine.tuning import require_effect
from mmav.models.init import reads_file
from mmav.models.weights.uses import leave_out_weights
from mmav.registry import FUNCTIONS

# MMEngine's training loops, by name and by ``by_epoch`` -> ours.
_TRAIN_LOOPS: dict[Any, str] = {
    **dict.fromkeys(('EpochBasedTrainLoop', True), 'AVTrainLoop'),
    **dict.fromkeys(('IterBasedTrainLoop', False), 'AVIterTrainLoop'),
}


def _with_type(loop: Any, kind: str) -> Any:
    return {'type': kind, **loop} if isinstance(loop, dict) else loop


def _checked(name: str, loop: Any) -> Any:
    check_loader(name, loop.dataloader)
    return loop


def _without_step(part: Any, loader: Any) -> bool:
    """Whether a schedule in parts of epochs has no step; one that rises needs two, its begin and its end."""
    if not isinstance(part, Mapping) or not part.get('convert_to_iter_based') or part.get('end') is None:
        return False
    steps = int(part['end'] * len(loader)) - int(part.get('begin', 0) * len(loader))
    return steps < (2 if str(part.get('type')).startswith('Linear') else 1)


class BuildingRunner(Runner):
    """MMEngine's Runner, with parts that also train on CPUs in several processes and resume exactly."""

    cfg: Any
    model: Any
    optim_wrapper: Any
    # the schedules as configured
    schedules: list[dict]
    _beginning: tuple[Any, bool] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        patches.apply()
        super().__init__(*args, **kwargs)

    @property
    def plain_model(self) -> nn.Module:
        """The model, not wrapped for distribution."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    def setup_env(self, env_cfg: dict) -> None:
        """Sets up the processes; without a GPU it uses gloo, where MMEngine would fail."""
        if self.distributed and without_gpu():
            init_gloo(self.launcher, env_cfg.get('dist_cfg', {}).get('timeout'))
        # cuDNN's benchmark mode is only on while the runner runs, see Numbers.in_force
        self._env_cfg = env_cfg
        super().setup_env({name: value for name, value in env_cfg.items() if name != 'cudnn_benchmark'})
        self._hardware = weakest(this_hardware())

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Sets the seeds; algorithms are only deterministic while the runner runs, see Numbers.in_force."""
        super().set_randomness(seed, diff_rank_seed)
        self._deterministic = deterministic

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> Any:
        """Builds MMEngine's logger, with a shorter log on the console."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        shorten_console(logger)
        if is_main_process():
            logger.info(f'Environment, config and hooks are listed in {logger.log_file}')
        return logger

    @cached_property
    def numbers(self) -> Numbers:
        """The precision of training."""
        return self._decide(training=True)

    @cached_property
    def evaluation_numbers(self) -> Numbers:
        """The precision of validation and testing."""
        return self._decide(training=False)

    def _decide(self, training: bool) -> Numbers:
        wrapper = self.optim_wrapper
        if not isinstance(wrapper, dict | None):  # already built
            wrapper = dict(type=type(wrapper).__name__, optimizer=None)
        # the caller may have passed these two without a config
        given = dict(env_cfg=self._env_cfg, randomness=dict(deterministic=self._deterministic))
        return decide({**self.cfg, **given, 'optim_wrapper': wrapper}, self._hardware, training=training)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimizer wrapper; a plain ``OptimWrapper`` becomes the one that :attr:`numbers` needs."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = with_numbers(optim_wrapper, self.numbers)
        return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model for distributed training; on a CPU there are no device ids."""
        options = self.cfg.get('fsdp')
        if self.distributed and options:
            # initialised before sharding, so that all processes draw the same weights
            self._leave_out_weights(model)
            cast(BaseModel, model).init_weights()
            require_effect(model)
            return spread_model(model.to(get_device()), **(options if isinstance(options, dict) else {}))
        if self.distributed and without_gpu():
            model_wrapper_cfg = dict(
                model_wrapper_cfg
                or dict(broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
            )
            model_wrapper_cfg['device_ids'] = None
        with warnings.catch_warnings():
            # MMEngine passes an argument that newer versions of torch deprecate
            warnings.filterwarnings('ignore', message='.broadcast_buffers. is deprecated', category=FutureWarning)
            return super().wrap_model(model_wrapper_cfg, model)

    def wrap_again(self) -> None:
        """Wraps the model anew, after a change of what trains.

        DistributedDataParallel averages the gradients of the parameters that trained when it was made, and of no
        others: their gradients would differ between processes.
        """
        if not is_model_wrapper(self.model):
            return
        options = self.cfg.get('model_wrapper_cfg')
        # the modules are converted already, and converting them anew would forget what is frozen
        synchronised = self.cfg.pop('sync_bn', None)
        try:
            plain = self.model = self.plain_model
            gc.collect()  # the hooks of the old wrapper on gradients end with it
            self.model = self.wrap_model(None if options is None else dict(options), plain)
        finally:
            if synchronised is not None:
                self.cfg.sync_bn = synchronised

    def build_train_loop(self, loop: Any) -> Any:
        """Builds the training loop; replaces MMEngine's two with ours, which resume in the middle of an epoch."""
        if isinstance(loop, dict):
            kind = loop.get('type', loop.get('by_epoch', True))
            rest = {name: value for name, value in loop.items() if name != 'by_epoch'}
            loop = {**rest, 'type': _TRAIN_LOOPS.get(kind, kind)}
        built = _checked('train_dataloader', super().build_train_loop(loop))
        check_contrast(built.dataloader, self.model)
        loader = built.dataloader
        balance_losses(self.plain_model, getattr(loader, 'dataset', None), getattr(loader, 'sampler', None))
        return built

    def build_val_loop(self, loop: Any) -> Any:
        """Builds the validation loop; defaults to ours, which runs in inference mode."""
        return _checked('val_dataloader', super().build_val_loop(_with_type(loop, 'AVValLoop')))

    def build_test_loop(self, loop: Any) -> Any:
        """Builds the test loop; defaults to ours, which runs in inference mode."""
        return _checked('test_dataloader', super().build_test_loop(_with_type(loop, 'AVTestLoop')))

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader:
        """Builds a data loader; finds functions of mmav by name and seeds training sets that have no seed of their own.

        Args:
            dataloader: A data loader, or its config.
            seed: The seed of the run.
            diff_rank_seed: Whether ``seed`` includes the rank; augmentation does not depend on it.
        """
        if isinstance(dataloader, dict):  # MMEngine looks functions up in its own registry only, in any scope
            functions = {name: dataloader[name] for name in ('collate_fn', 'worker_init_fn') if name in dataloader}
            for name, function in functions.items():
                if isinstance(function, dict) and isinstance(function['type'], str):
                    functions[name] = {**function, 'type': FUNCTIONS.get(function['type'])}
            dataloader = {**dataloader, **functions}
        built = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        follow_loader(built)
        if seed is not None:
            seed_datasets(built, seed - get_rank() if diff_rank_seed else seed)
        return built

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Builds MMEngine's schedulers and records their settings in :attr:`schedules`.

        A part that is shorter than a step, such as a warm-up of a tenth of an epoch of five steps, is left out: it has
        no effect, and MMEngine cannot build it.
        """
        loader = getattr(getattr(self, '_train_loop', None), 'dataloader', None)
        if isinstance(scheduler, (list, tuple)) and loader is not None:
            kept = [part for part in scheduler if not _without_step(part, loader)]
            scheduler = kept or scheduler
        built = super().build_param_scheduler(scheduler)
        if isinstance(built, list):
            self.schedules = schedules(built)
        return built

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """Scales the learning rate to a step's batch: over all processes and all accumulated iterations."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            cycle = getattr(optim_wrapper, '_accumulative_counts', 1)
            if cycle > 1:
                self.logger.info(f'Gradients are accumulated over {cycle} iterations: a step covers {cycle} batches')
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': auto_scale_lr['base_batch_size'] / cycle}
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def _maybe_compile(self, target: str) -> None:
        # MMEngine calls this and would compile ``target``, a whole training step
        options = compile_options(self.cfg.get('compile'))
        if options is not None:
            compile_losses(self.plain_model, options)
            backend = options.get('backend') or 'inductor'
            self.logger.info(f"The first iterations compile the model's losses ({backend}) and take longer")

    def _begin_from(self) -> tuple[Any, bool]:
        """The checkpoint to resume or load, or None; and whether to resume. Looked up once."""
        if self._beginning is None:
            resume_from = self._resume
            if resume_from is True:
                found = [find_resume(self.work_dir) if is_main_process() else None]
                broadcast_object_list(found)  # rank 0 decides: files may appear in the meantime
                resume_from = found[0]
                if resume_from is None:
                    self.logger.info(f'No checkpoint to resume from in {self.work_dir}: training starts from scratch')
            self._beginning = (resume_from or self._load_from, bool(resume_from))
        return self._beginning

    def _init_model_weights(self) -> None:
        if not is_spread(self.model):
            self._leave_out_weights(self.plain_model)
            super()._init_model_weights()
            require_effect(self.plain_model)

    def _leave_out_weights(self, model: nn.Module) -> None:
        """Stops a model from reading public weights that a checkpoint will replace."""
        path, resuming = self._begin_from()
        if path is None or self._saves_trained_only():
            return
        reading = any(reads_file(getattr(part, 'init_cfg', None)) for part in model.modules())
        if reading and resuming and not leaves_out(load_checkpoint_file(path)):
            leave_out_weights(model, path)
        elif reading:
            leave_out_weights(model, path, lambda: weights_of(path))

    def _saves_trained_only(self) -> bool:
        """Whether checkpoints leave out what a file of public weights holds, which must then be read in any case."""
        hooks = [*(self.cfg.get('default_hooks') or {}).values(), *(self.cfg.get('custom_hooks') or ())]
        return any(isinstance(hook, dict) and hook.get('trained_only') for hook in hooks)
