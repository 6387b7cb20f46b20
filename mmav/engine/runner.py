"""MMEngine's Runner with the faults that concern us mended: CPU processes, strict loading, resuming, a tidy console."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, cast

from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmav.adapting import noted_grids, position_grids
from mmav.checkpoints import find_resume, restore_history, to_plain, weights_of
from mmav.class_names import Names
from mmav.engine.class_heads import match_classes
from mmav.engine.class_lists import check_class_lists, note_classes
from mmav.engine.compilation import compile_errors, compile_losses, compile_options
from mmav.engine.distributed.fsdp import gathered, is_spread, spread_model, spread_optimizer_state
from mmav.engine.distributed.group import init_gloo, without_gpu
from mmav.engine.hooks.non_finite import NonFiniteHook
from mmav.engine.hooks.runtime import RuntimeInfoHook
from mmav.engine.loader_check import check_contrast, check_loader, judge_all, judge_so_far
from mmav.engine.loading import load_weights
from mmav.engine.memory.budget import settle_checkpointing
from mmav.engine.optim.param_groups import regroup
from mmav.engine.optim.schedule_check import check_monitors, training_notes
from mmav.engine.precision import Numbers, decide, this_hardware, weakest, with_numbers
from mmav.engine.resuming import (
    drop_average,
    follow_options,
    follow_schedule,
    go_on_in_round,
    optimizer_kind,
    options_of,
    other_numbers,
    parameter_names,
    require_same_optimizer,
    schedules,
)
from mmav.errors import CheckpointError, OutputError
from mmav.models.weights.uses import leave_out_weights
from mmav.outputs import write_output
from mmav.registry import RUNNERS

# What MMEngine calls the loops of training, and ours.
_LOOPS = dict(EpochBasedTrainLoop='AVTrainLoop', IterBasedTrainLoop='AVIterTrainLoop')


class _TidyConsole(logging.Filter):
    """Keeps MMEngine's listings (environment, config, hooks) and notes off the console; the log file has them."""

    noise = (
        'paramwise_options',  # one line a parameter
        'Distributed training is not used',
        'Exp name',
        '"FileClient" will be deprecated',
        '"HardDiskBackend" is the alias',
        'Enabling the "activation_checkpointing"',  # the config says it
    )

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        listing = record.levelno < logging.WARNING and '\n' in message.strip()
        return not listing and not message.startswith(self.noise)


@RUNNERS.register_module()
class AVRunner(Runner):
    """What ``tools/train.py`` and ``tools/test.py`` run: MMEngine's Runner, with two differences in its arguments.

    ``resume`` may be a checkpoint's path; True means the newest whole checkpoint of the work dir, and where there is
    none training starts anew, from ``load_from`` if that is given. Testing and resuming load strictly; ``load_from`` in
    training loads what fits.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Sets the processes up: gloo where there is no GPU, which MMEngine would fail to see."""
        if self.distributed and without_gpu():
            init_gloo(self.launcher, env_cfg.get('dist_cfg', {}).get('timeout'))
        # cuDNN's benchmark is on while the runner works, see Numbers.in_force
        self._env_cfg = env_cfg
        super().setup_env({name: value for name, value in env_cfg.items() if name != 'cudnn_benchmark'})
        self._hardware = weakest(this_hardware())

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Sets the seeds; algorithms are deterministic while the runner works, see Numbers.in_force."""
        super().set_randomness(seed, diff_rank_seed)
        self._deterministic = deterministic

    @cached_property
    def numbers(self) -> Numbers:
        """What kind of numbers training computes with."""
        return self._decide(training=True)

    @cached_property
    def evaluation_numbers(self) -> Numbers:
        """What kind of numbers validation and testing compute with."""
        return self._decide(training=False)

    def _decide(self, training: bool) -> Numbers:
        wrapper = self.optim_wrapper
        if not isinstance(wrapper, dict | None):  # a wrapper that was built by whoever calls
            wrapper = dict(type=type(wrapper).__name__, optimizer=None)
        # not the config's: whoever calls may give these two without one
        given = dict(env_cfg=self._env_cfg, randomness=dict(deterministic=self._deterministic))
        return decide({**self.cfg, **given, 'optim_wrapper': wrapper}, self._hardware, training=training)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimizer's wrapper; of a plain one the one that computes with :attr:`numbers`."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = with_numbers(optim_wrapper, self.numbers)
        return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model for distribution; on the CPU there are no device ids."""
        options = self.cfg.get('fsdp')
        if self.distributed and options:
            # before it is spread, so that all processes draw the same weights
            self._leave_out_weights(model)
            cast(BaseModel, model).init_weights()
            return spread_model(model.to(get_device()), **(options if isinstance(options, dict) else {}))
        if self.distributed and without_gpu():
            model_wrapper_cfg = dict(
                model_wrapper_cfg
                or dict(broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
            )
            model_wrapper_cfg['device_ids'] = None
        with warnings.catch_warnings():
            # MMEngine passes an argument that newer versions of torch have renamed
            warnings.filterwarnings('ignore', message='.broadcast_buffers. is deprecated', category=FutureWarning)
            return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Any) -> Any:
        """Builds the training loop; of MMEngine's two ours, which go on where a run was stopped."""
        if isinstance(loop, dict):
            ours: dict[Any, str] = {True: 'AVTrainLoop', False: 'AVIterTrainLoop', **_LOOPS}
            kind = loop.get('type', loop.get('by_epoch', True))
            loop = {**{k: v for k, v in loop.items() if k != 'by_epoch'}, 'type': ours.get(kind, kind)}
        built = super().build_train_loop(loop)
        check_loader('train_dataloader', built.dataloader)
        check_contrast(built.dataloader, self.model)
        return built

    def build_val_loop(self, loop: Any) -> Any:
        """Builds the validation loop; ours, which runs in inference mode, where the config names none."""
        built = super().build_val_loop({'type': 'AVValLoop', **loop} if isinstance(loop, dict) else loop)
        check_loader('val_dataloader', built.dataloader)
        return built

    def build_test_loop(self, loop: Any) -> Any:
        """Builds the test loop; ours, which runs in inference mode, where the config names none."""
        built = super().build_test_loop({'type': 'AVTestLoop', **loop} if isinstance(loop, dict) else loop)
        check_loader('test_dataloader', built.dataloader)
        return built

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """Scales the learning rate to the batch of a step, over all processes and a cycle of accumulated gradients."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            cycle = getattr(optim_wrapper, '_accumulative_counts', 1)
            if cycle > 1:
                self.logger.info(f'Gradients are accumulated over {cycle} iterations: a step has as many batches')
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': auto_scale_lr['base_batch_size'] / cycle}
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def _maybe_compile(self, target: str) -> None:
        # called by MMEngine, which would compile all of ``target``, a training step
        options = compile_options(self.cfg.get('compile'))
        if options is not None:
            compile_losses(self.model.module if is_model_wrapper(self.model) else self.model, options)
            backend = options.get('backend') or 'inductor'
            self.logger.info(f"The model's losses are compiled ({backend}) in the first iterations, which take long")

    def _init_model_weights(self) -> None:
        if not is_spread(self.model):
            self._leave_out_weights(self.model.module if is_model_wrapper(self.model) else self.model)
            super()._init_model_weights()

    def _leave_out_weights(self, model: nn.Module) -> None:
        """Has a model not read public weights in whose place a checkpoint is loaded."""
        path, resuming = self._begin_from()
        if path is not None:
            leave_out_weights(model, path, None if resuming else lambda: weights_of(path))

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint, see MMEngine's Runner; of a model that is spread over processes the whole one."""
        for hook in self.hooks:
            if isinstance(hook, (RuntimeInfoHook, NonFiniteHook)):
                hook.read_late(self)
        if is_spread(self.model):
            self._whole = dict(
                state_dict=gathered(self.model.state_dict()), optimizer=gathered(self.optim_wrapper.state_dict())
            )
        # Between two epochs there is no place to remember.
        position = {} if kwargs.get('by_epoch', True) else getattr(self.train_loop, 'position', {})
        optimizer = dict(
            optimizer_kind=optimizer_kind(self.optim_wrapper),
            optimizer_parameters=parameter_names(self.optim_wrapper, self.model),
        )
        numbers = dict(numbers=self.numbers.amp or 'float32')
        kwargs['meta'] = {**position, **optimizer, **numbers, **(kwargs.get('meta') or {})}
        super().save_checkpoint(*args, **kwargs)
        self._whole = None

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> Any:
        """Builds MMEngine's logger; only the console is kept short."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
                # MMEngine's has the encoding of the system, which may not have the letters of a file's name
                handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_TidyConsole())
        if is_main_process():
            logger.info(f'Environment, config and hooks are listed in {logger.log_file}')
        return logger

    def dump_config(self) -> None:
        """Writes the config into the work dir; where a file of that name is not ours, into the run's own folder."""
        if not is_main_process():
            return
        name = os.path.basename(self.cfg.filename or f'{self.timestamp}.py')
        text = self.cfg.dump()
        try:
            write_output(os.path.join(self.work_dir, name), text)
        except OutputError:
            place = os.path.join(self.log_dir, name)
            write_output(place, text)
            self.logger.info(f'The config is in {place}, as {self.work_dir} holds another file of this name')

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Calls the hooks; what they leave in a checkpoint is made plain before writing, and put back after loading.

        Where too many clips cannot be read validation ends before any hook takes its result for good, such as for the
        best so far; testing, when its result has been logged.
        """
        if fn_name == 'after_load_checkpoint':
            restore_history(kwargs['checkpoint'].get('message_hub', {}))
        elif fn_name == 'before_train':
            for note in training_notes(self):
                self.logger.warning(note)
        elif fn_name == 'after_val_epoch':
            judge_all(self.val_dataloader)
            check_monitors(self.hooks, kwargs.get('metrics') or {})
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'after_val_iter':
            judge_so_far(self.val_dataloader)
        elif fn_name == 'after_test_iter':
            judge_so_far(self.test_dataloader)
        elif fn_name == 'after_test_epoch':
            judge_all(self.test_dataloader)
        if fn_name == 'before_save_checkpoint':
            checkpoint = kwargs['checkpoint']
            note_classes(checkpoint, self._class_names)
            model = self.model.module if is_model_wrapper(self.model) else self.model
            checkpoint['meta']['position_grids'] = position_grids(model)
            checkpoint.update({name: part for name, part in (self._whole or {}).items() if name in checkpoint})
            checkpoint.update({name: to_plain(part) for name, part in checkpoint.items()})

    def train(self) -> nn.Module:
        """Trains the model, see MMEngine's Runner."""
        self._purpose = 'begin'
        self.logger.info(self.numbers.text)
        self.cfg.activation_checkpointing, note = settle_checkpointing(self.cfg, self.model)
        if note:
            self.logger.info(note)
        with self.numbers.in_force(), compile_errors(self.cfg.get('compile')):
            return super().train()

    def test(self) -> dict:
        """Tests the model of ``load_from``, strictly loaded."""
        if self._test_loop is not None:
            self._test_loop = self.build_test_loop(self._test_loop)
            self._use_classes('test', test_dataloader=self._test_loop)
        self._load_strictly()
        self.logger.info(self.evaluation_numbers.text)
        with self.evaluation_numbers.in_force():
            return super().test()

    def val(self) -> dict:
        """Validates the model of ``load_from``, strictly loaded."""
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)
            self._use_classes('test', val_dataloader=self._val_loop)
        self._load_strictly()
        self.logger.info(self.evaluation_numbers.text)
        with self.evaluation_numbers.in_force():
            return super().val()

    def _use_classes(self, purpose: str, **loops: Any) -> None:
        """Takes the class list that the model works with from now on."""
        self._purpose, self._list_of = purpose, next(iter(loops))
        model = self.model.module if is_model_wrapper(self.model) else self.model
        self._class_names = check_class_lists(model, loops, self._class_names)

    def _load_strictly(self) -> None:
        if self._load_from is not None and not self._has_loaded:
            self.load_checkpoint(self._load_from, strict=True)

    def load_or_resume(self) -> None:
        """Resumes or loads what the config asks for, before training.

        Raises:
            CheckpointError: The file is missing, damaged, or of another architecture.
        """
        if self._purpose == 'begin':
            loops = dict(train_dataloader=self._train_loop, val_dataloader=self._val_loop)
            self._use_classes('begin', **{name: loop for name, loop in loops.items() if loop is not None})
        if self._has_loaded:
            return
        path, resuming = self._begin_from()
        if resuming:
            self.resume(path)
        elif path is not None:
            self.load_checkpoint(path)

    def _begin_from(self) -> tuple[Any, bool]:
        """The checkpoint that is resumed or loaded, or None; and whether it is resumed. Looked for once."""
        if self._beginning is None:
            resume_from = self._resume
            if resume_from is True:
                found = [find_resume(self.work_dir) if is_main_process() else None]
                broadcast_object_list(found)  # rank 0 decides: files may appear while others look
                resume_from = found[0]
                if resume_from is None:
                    self.logger.info(f'No checkpoint to resume from in {self.work_dir}: training starts anew')
            self._beginning = (resume_from or self._load_from, bool(resume_from))
        return self._beginning

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Resumes training from a checkpoint, see MMEngine's Runner; strict.

        Raises:
            CheckpointError: The file is missing, damaged, of another architecture, or holds weights only.
        """
        self._resuming = True
        try:
            super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        finally:
            self._resuming = False
        if resume_optimizer:
            follow_options(self, self._wanted, filename)
        if note := other_numbers(self._meta, self.numbers, filename):
            self.logger.warning(note)
        go_on_in_round(self, self._meta, filename)
        if resume_param_scheduler:
            follow_schedule(self, self._fresh, self._saved_schedules)
        if self.epoch >= self.max_epochs:
            self.logger.info(f'{filename} is at epoch {self.epoch} of {self.max_epochs}: nothing is left to train')
        elif self.iter >= self.max_iters:
            self.logger.info(f'{filename} is at iteration {self.iter} of {self.max_iters}: nothing is left to train')

    param_schedulers: Any
    _resuming = False
    _beginning: tuple[Any, bool] | None = None
    _class_names: Names | None = None
    _val_loop: Any
    _test_loop: Any
    _purpose, _list_of = '', ''
    _whole: dict[str, Any] | None = None
    optim_wrapper: Any
    # Of the config's schedule and optimizer, and of the checkpoint that is resumed.
    _fresh: ClassVar[list[dict]] = []
    _wanted: ClassVar[list[dict]] = []
    _meta: ClassVar[dict[str, Any]] = {}
    _saved_schedules: Any = None

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Builds MMEngine's schedulers, and remembers their schedule as the config has it."""
        built = super().build_param_scheduler(scheduler)
        if isinstance(built, list):
            self._fresh = schedules(built)  # type: ignore[misc]
        return built

    def load_checkpoint(
        self, filename: str, map_location: str | Callable = 'cpu', strict: bool = False, revise_keys: list | None = None
    ) -> dict:
        """Loads weights, see :func:`mmav.engine.loading.load_weights`.

        Args:
            filename: Path or address.
            map_location: As in ``torch.load``.
            strict: Every name and shape must fit; always so when resuming.
            revise_keys: Not used: a prefix ``module.`` is dropped, other key maps belong to the weight converters.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: The file is missing, damaged, or of another architecture.
        """
        if revise_keys is not None:
            raise ValueError('revise_keys is not supported: convert the weights first')
        checkpoint = CheckpointLoader.load_checkpoint(filename, map_location)
        needed = {'meta', 'message_hub', 'optimizer'}
        if self._resuming and not needed <= checkpoint.keys():
            raise CheckpointError(
                f"'{filename}' holds weights only and cannot be resumed from: set load_from='{filename}' in the config"
            )
        model = self.model.module if is_model_wrapper(self.model) else self.model
        purpose = 'resume' if self._resuming else self._purpose
        weights = match_classes(
            checkpoint, model, self._class_names, source=filename, who=self._list_of, purpose=purpose
        )
        if 'state_dict' in checkpoint:
            checkpoint['state_dict'] = weights
        if self._resuming:
            meta = checkpoint['meta']
            # MMEngine would run the text that stands here as Python.
            meta.pop('config', None)
            self._meta = meta  # type: ignore[misc]
            self._saved_schedules = checkpoint.get('param_schedulers')
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self._wanted = options_of(self.optim_wrapper)  # type: ignore[misc]
            regroup(checkpoint, self.optim_wrapper, model)
            require_same_optimizer(checkpoint, self.optim_wrapper, model, filename)
            if note := drop_average(checkpoint, self.hooks, filename):
                self.logger.warning(note)
            if is_spread(self.model):
                spread_optimizer_state(checkpoint['optimizer'], self.optim_wrapper.optimizer)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(
            model,
            checkpoint.get('state_dict', checkpoint),
            filename,
            strict=strict or self._resuming,
            grids=noted_grids(checkpoint),
        )
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')
        return checkpoint
