"""MMEngine's checkpoint hook, safe against being killed at any moment."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmav.engine.small_checkpoints import describe_base
from mmav.errors import ConfigError
from mmav.files import atomic_write, remove_torn_files
from mmav.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook of this name, but it deletes an old checkpoint only once the new one is complete.

    MMEngine deletes first, for ``save_best``, too: a kill in between leaves nothing. The arguments are the same, and
    two more.

    Args:
        *args: Passed to MMEngine's hook.
        trained_only: Whether all checkpoints of the run leave out the frozen weights of public files, see
            :mod:`mmav.engine.small_checkpoints`.
        latest_of_equal: Whether ``save_best`` takes the latest of equally good checkpoints, not the first: on a short
            validation list many are equal, and a later one has trained longer at a lower learning rate.
        **kwargs: Passed to MMEngine's hook.

    Raises:
        ConfigError: If ``latest_of_equal`` has no effect; when training begins, if ``trained_only`` leaves nothing out.
    """

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def __init__(self, *args: Any, trained_only: bool = False, latest_of_equal: bool = False, **kwargs: Any) -> None:
        if latest_of_equal:
            # before MMEngine takes its comparison from here
            self.rule_map = dict(greater=operator.ge, less=operator.le)
        super().__init__(*args, **kwargs)
        if latest_of_equal and not self.save_best:
            raise ConfigError('checkpoint.latest_of_equal=True has no effect without save_best: leave it out')
        self.trained_only = trained_only

    def before_train(self, runner: Runner) -> None:
        """Creates the folder and removes partial files left by a killed run."""
        super().before_train(runner)
        if self.trained_only:
            left_out = describe_base(runner.model.module if is_model_wrapper(runner.model) else runner.model)
            if not left_out:
                raise ConfigError(
                    'checkpoint.trained_only=True has no effect: nothing is frozen that comes from a file of public '
                    "weights, init_cfg=dict(type='PublicWeights', ...); leave it out"
                )
            runner.logger.info(left_out)
        if is_main_process():
            remove_torn_files(self.out_dir)
            remove_torn_files(runner.work_dir)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            atomic_write(Path(runner.work_dir) / 'last_checkpoint', os.fsencode(str(self.last_ckpt)))
            for old in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        # MMEngine deletes the best checkpoints that it knows before it writes new ones: hide them
        single = len(self.key_indicators) == 1
        before = {'': self.best_ckpt_path} if single else self.best_ckpt_path_dict
        self.best_ckpt_path, self.best_ckpt_path_dict = None, dict.fromkeys(before)
        super()._save_best_checkpoint(runner, metrics)
        after = {'': self.best_ckpt_path} if single else self.best_ckpt_path_dict
        kept = {key: path or before[key] for key, path in after.items()}
        self.best_ckpt_path, self.best_ckpt_path_dict = kept.get(''), {} if single else kept
        if is_main_process():
            for path in {*before.values()} - {*kept.values(), None}:
                self._remove(str(path))

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
