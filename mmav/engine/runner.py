"""MMEngine's Runner with the faults that concern us mended: CPU processes, strict loading, resuming, a tidy console."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, cast

from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmav.engine.checkpoint_io import find_resume, load_weights, restore_history, to_plain
from mmav.engine.dist import init_gloo, without_gpu
from mmav.engine.finite import NonFiniteHook
from mmav.engine.fsdp import gathered, is_spread, spread_model, spread_optimizer_state
from mmav.engine.hooks import RuntimeInfoHook
from mmav.engine.param_groups import regroup
from mmav.errors import CheckpointError
from mmav.registry import RUNNERS


class _TidyConsole(logging.Filter):
    """Keeps MMEngine's listings (environment, config, hooks) and notes off the console; the log file has them."""

    noise = (
        'paramwise_options',  # one line a parameter
        'Distributed training is not used',
        'Exp name',
        '"FileClient" will be deprecated',
        '"HardDiskBackend" is the alias',
    )

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        listing = record.levelno < logging.WARNING and '\n' in message.strip()
        return not listing and not message.startswith(self.noise)


def _schedule(scheduler: Any) -> dict:
    """What decides a schedule, without how far it has come."""
    changing = ('last_step', '_global_step', '_last_value', 'verbose')
    return {key: value for key, value in scheduler.state_dict().items() if key not in changing}


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
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model for distribution; on the CPU there are no device ids."""
        options = self.cfg.get('fsdp')
        if self.distributed and options:
            # before it is spread, so that all processes draw the same weights
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
        """Builds the training loop; of MMEngine's loop by epochs ours, which goes on in mid-epoch."""
        if isinstance(loop, dict) and loop.get('by_epoch'):
            loop = {**{k: v for k, v in loop.items() if k != 'by_epoch'}, 'type': 'AVTrainLoop'}
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: Any) -> Any:
        """Builds the validation loop; ours, which runs in inference mode, where the config names none."""
        return super().build_val_loop({'type': 'AVValLoop', **loop} if isinstance(loop, dict) else loop)

    def build_test_loop(self, loop: Any) -> Any:
        """Builds the test loop; ours, which runs in inference mode, where the config names none."""
        return super().build_test_loop({'type': 'AVTestLoop', **loop} if isinstance(loop, dict) else loop)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """Scales the learning rate to the batch of a step, over all processes and a cycle of accumulated gradients."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            cycle = getattr(optim_wrapper, '_accumulative_counts', 1)
            if cycle > 1:
                self.logger.info(f'Gradients are accumulated over {cycle} iterations: a step has as many batches')
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': auto_scale_lr['base_batch_size'] / cycle}
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def _init_model_weights(self) -> None:
        if not is_spread(self.model):
            super()._init_model_weights()

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint, see MMEngine's Runner; of a model that is spread over processes the whole one."""
        for hook in self.hooks:
            if isinstance(hook, (RuntimeInfoHook, NonFiniteHook)):
                hook.read_late(self)
        if is_spread(self.model):
            self._whole = dict(
                state_dict=gathered(self.model.state_dict()), optimizer=gathered(self.optim_wrapper.state_dict())
            )
        super().save_checkpoint(*args, **kwargs)
        self._whole = None

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> Any:
        """Builds MMEngine's logger; only the console is kept short."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_TidyConsole())
        if is_main_process():
            logger.info(f'Environment, config and hooks are listed in {logger.log_file}')
        return logger

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Calls the hooks; what they leave in a checkpoint is made plain before writing, and put back after loading."""
        if fn_name == 'after_load_checkpoint':
            restore_history(kwargs['checkpoint'].get('message_hub', {}))
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':
            checkpoint = kwargs['checkpoint']
            checkpoint.update({name: part for name, part in (self._whole or {}).items() if name in checkpoint})
            checkpoint.update({name: to_plain(part) for name, part in checkpoint.items()})

    def test(self) -> dict:
        """Tests the model of ``load_from``, strictly loaded."""
        self._load_strictly()
        return super().test()

    def val(self) -> dict:
        """Validates the model of ``load_from``, strictly loaded."""
        self._load_strictly()
        return super().val()

    def _load_strictly(self) -> None:
        if self._load_from is not None and not self._has_loaded:
            self.load_checkpoint(self._load_from, strict=True)

    def load_or_resume(self) -> None:
        """Resumes or loads what the config asks for, before training.

        Raises:
            CheckpointError: The file is missing, damaged, or of another architecture.
        """
        if self._has_loaded:
            return
        resume_from = self._resume
        if resume_from is True:
            found = [find_resume(self.work_dir) if is_main_process() else None]
            broadcast_object_list(found)  # rank 0 decides: files may appear while others look
            resume_from = found[0]
            if resume_from is None:
                self.logger.info(f'No checkpoint to resume from in {self.work_dir}: training starts anew')
        if resume_from:
            self.resume(resume_from)
        elif self._load_from is not None:
            self.load_checkpoint(self._load_from)

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
        self._go_on_in_epoch(filename)
        if resume_param_scheduler:
            self._follow_new_schedule()
        if self.epoch >= self.max_epochs:
            self.logger.info(f'{filename} is at epoch {self.epoch} of {self.max_epochs}: nothing is left to train')

    def _go_on_in_epoch(self, filename: str) -> None:
        """Tells the loop where in the epoch a checkpoint was saved."""
        batches, clips = self._position
        go_on_after = getattr(self.train_loop, 'go_on_after', None)
        if not batches or go_on_after is None:
            return
        now = self.train_loop.clips_per_batch
        if now != clips:
            self.logger.warning(
                f'{filename} was saved after {batches} batches of {clips} clips, a batch has {now} now: training goes '
                f'on after {batches * clips // now} of these'
            )
        go_on_after(batches * clips // now)

    def _follow_new_schedule(self) -> None:
        """Puts the learning rate where the config's schedule has it, if that is another than the checkpoint's.

        MMEngine goes on with the checkpoint's, whose rate stays where it was once its end is reached.
        """
        schedulers = self.param_schedulers
        if not isinstance(schedulers, list) or [_schedule(scheduler) for scheduler in schedulers] == self._fresh:
            return
        done = schedulers[0]._global_step
        groups = self.optim_wrapper.param_groups
        for group, base in zip(groups, self._fresh[0]['base_values'], strict=True):
            group['lr'] = group['initial_lr'] = base
        with warnings.catch_warnings():
            # of steps of the schedule before any of the optimizer
            warnings.simplefilter('ignore', UserWarning)
            self.param_schedulers = self.build_param_scheduler(self.cfg.param_scheduler)
            for _ in range(done):
                for scheduler in self.param_schedulers:
                    scheduler.step()
        self.logger.warning(
            'The schedule of the learning rate is not that of the checkpoint: training goes on where the new one has '
            f'it after {done} steps, at {groups[0]["lr"]:.3g}'
        )

    param_schedulers: Any
    _resuming = False
    _position = (0, 0)
    _whole: dict[str, Any] | None = None
    optim_wrapper: Any
    _fresh: ClassVar[list[dict]] = []

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Builds MMEngine's schedulers, and remembers their schedule as the config has it."""
        built = super().build_param_scheduler(scheduler)
        if isinstance(built, list):
            self._fresh = [_schedule(scheduler) for scheduler in built]  # type: ignore[misc]
        return built

    def load_checkpoint(
        self, filename: str, map_location: str | Callable = 'cpu', strict: bool = False, revise_keys: list | None = None
    ) -> dict:
        """Loads weights, see :func:`mmav.engine.checkpoint_io.load_weights`.

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
        if self._resuming:
            meta = checkpoint['meta']
            # MMEngine would run the text that stands here as Python.
            meta.pop('config', None)
            self._position = (meta.get('batches_done', 0), meta.get('clips_per_batch', 0))
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            regroup(checkpoint, self.optim_wrapper, model)
            if is_spread(self.model):
                spread_optimizer_state(checkpoint['optimizer'], self.optim_wrapper.optimizer)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(model, checkpoint.get('state_dict', checkpoint), filename, strict=strict or self._resuming)
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')
        return checkpoint
