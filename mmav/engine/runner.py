"""MMEngine's Runner for audio-video models: several CPU processes, strict loading, exact resuming, a short log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

import mmav.engine.features.checks
import mmav.engine.input_check
import mmav.engine.teacher_check  # noqa: F401 registers a check
from mmav.adapting import noted_grids, position_grids
from mmav.checkpoints import load_checkpoint_file, restore_history, to_plain
from mmav.class_names import Names
from mmav.engine.building import BuildingRunner
from mmav.engine.class_heads import match_classes
from mmav.engine.class_lists import check_class_lists, note_classes
from mmav.engine.compilation import compile_errors
from mmav.engine.device_check import device_note
from mmav.engine.distributed.fsdp import gathered, is_spread
from mmav.engine.hooks.seed import reseed
from mmav.engine.loader_check import judge_all, judge_so_far
from mmav.engine.loading import load_weights
from mmav.engine.memory.budget import settle_checkpointing
from mmav.engine.optim.saved_state import optimizer_kind, parameter_names
from mmav.engine.optim.schedule_check import check_monitors, training_notes
from mmav.engine.resuming import Resumed, prepare, require_whole, settle
from mmav.engine.small_checkpoints import complete, leave_out_base
from mmav.errors import OutputError
from mmav.outputs import write_output
from mmav.registry import RUNNERS


@RUNNERS.register_module()
class AVRunner(BuildingRunner):
    """The runner of ``tools/train.py`` and ``tools/test.py``: MMEngine's, except for two differences.

    ``resume`` may be the path of a checkpoint; True means the newest intact checkpoint in the work dir, and without one
    training starts from scratch, or from ``load_from`` if given. Testing and resuming load strictly; in training,
    ``load_from`` loads whatever fits.
    """

    param_schedulers: Any
    _train_loop: Any
    _val_loop: Any
    # seed of the training sets if it differs from ``seed``
    data_seed: int | None = None
    _resuming = False
    _resumed: Resumed
    _class_names: Names | None = None
    _purpose, _list_of = '', ''
    _whole: dict[str, Any] | None = None

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint, see MMEngine's Runner; a sharded model is saved whole."""
        for hook in self.hooks:
            if hasattr(hook, 'read_deferred'):
                hook.read_deferred(self)
        if is_spread(self.model):
            self._whole = dict(
                state_dict=gathered(self.model.state_dict()), optimizer=gathered(self.optim_wrapper.state_dict())
            )
        # between two epochs there is no position
        position = {} if kwargs.get('by_epoch', True) else getattr(self.train_loop, 'position', {})
        notes = dict(
            optimizer_kind=optimizer_kind(self.optim_wrapper),
            optimizer_parameters=parameter_names(self.optim_wrapper, self.plain_model),
            numbers=self.numbers.amp or 'float32',
            data_seed=self.seed if self.data_seed is None else self.data_seed,
        )
        kwargs['meta'] = {**position, **notes, **(kwargs.get('meta') or {})}
        super().save_checkpoint(*args, **kwargs)
        self._whole = None

    def dump_config(self) -> None:
        """Writes the config to the work dir, or to the run's own folder if it would replace a file that is not ours."""
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
        """Calls the hooks; makes what they add to a checkpoint plain before saving, and restores it after loading.

        If too many clips are unreadable, validation ends before any hook uses its result, for example to choose the
        best checkpoint; testing ends after its result has been logged.
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
            note_classes(checkpoint, self._class_names, self.plain_model)
            checkpoint['meta']['position_grids'] = position_grids(self.plain_model)
            checkpoint.update({name: part for name, part in (self._whole or {}).items() if name in checkpoint})
            if any(getattr(hook, 'trained_only', False) for hook in self.hooks):
                leave_out_base(checkpoint, self.plain_model)
            checkpoint.update({name: to_plain(part) for name, part in checkpoint.items()})

    def train(self) -> nn.Module:
        """Trains the model, see MMEngine's Runner."""
        self._purpose = 'begin'
        self.logger.info(self.numbers.text)
        self.cfg.activation_checkpointing, note = settle_checkpointing(self.cfg, self.model)
        if note:
            self.logger.info(note)
        if warning := device_note(self.plain_model):
            self.logger.warning(warning)
        with self.numbers.in_force(), compile_errors(self.cfg.get('compile')):
            return super().train()

    def test(self) -> dict:
        """Tests the model of ``load_from``, strictly loaded."""
        return self._evaluate('test')

    def val(self) -> dict:
        """Validates the model of ``load_from``, strictly loaded."""
        return self._evaluate('val')

    def _evaluate(self, stage: str) -> dict:
        loop = getattr(self, f'_{stage}_loop')
        if loop is not None:
            loop = getattr(self, f'build_{stage}_loop')(loop)
            setattr(self, f'_{stage}_loop', loop)
            self._use_classes('test', {f'{stage}_dataloader': loop})
        if self._load_from is not None and not self._has_loaded:
            self.load_checkpoint(self._load_from, strict=True)
        self.logger.info(self.evaluation_numbers.text)
        with self.evaluation_numbers.in_force():
            return getattr(super(), stage)()

    def _use_classes(self, purpose: str, loops: dict[str, Any]) -> None:
        """Sets the class list that the model uses from now on."""
        self._purpose, self._list_of = purpose, next(iter(loops))
        self._class_names = check_class_lists(self.plain_model, loops, self._class_names)

    def load_or_resume(self) -> None:
        """Resumes or loads the checkpoint that the config names, before training.

        Raises:
            CheckpointError: The file is missing, damaged, or of another architecture.
        """
        if self._purpose == 'begin':
            loops = dict(train_dataloader=self._train_loop, val_dataloader=self._val_loop)
            self._use_classes('begin', {name: loop for name, loop in loops.items() if loop is not None})
        if self._has_loaded:
            return
        path, resuming = self._begin_from()
        if resuming:
            self.resume(path)
        elif path is not None:
            self.load_checkpoint(path)

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
        self._resuming, before = True, self.seed
        try:
            super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        finally:
            self._resuming = False
        reseed(self.train_dataloader, before, self.seed)
        settle(self, self._resumed, optimizer=resume_optimizer, schedule=resume_param_scheduler)

    def load_checkpoint(
        self, filename: str, map_location: str | Callable = 'cpu', strict: bool = False, revise_keys: list | None = None
    ) -> dict:
        """Loads weights, see :func:`mmav.engine.loading.load_weights`.

        Args:
            filename: Path or address.
            map_location: As in ``torch.load``.
            strict: Every name and shape must fit; always so when resuming.
            revise_keys: Must be None: a prefix ``module.`` is dropped, other key maps belong to the weight converters.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: The file is missing, damaged, or of another architecture.
        """
        if revise_keys is not None:
            raise ValueError('revise_keys is not supported: convert the weights first')
        checkpoint = load_checkpoint_file(filename, map_location)
        if self._resuming:
            require_whole(checkpoint, filename)
        model = self.plain_model
        complete(checkpoint, model, filename)
        purpose = 'resume' if self._resuming else self._purpose
        weights = match_classes(
            checkpoint, model, self._class_names, source=filename, who=self._list_of, purpose=purpose
        )
        if 'state_dict' in checkpoint:
            checkpoint['state_dict'] = weights
        if self._resuming:
            self._resumed = prepare(self, checkpoint, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(
            model,
            checkpoint.get('state_dict', checkpoint),
            filename,
            strict=strict or self._resuming,
            whole=self._resuming,
            grids=noted_grids(checkpoint),
        )
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')
        return checkpoint
