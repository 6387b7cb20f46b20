"""MMEngine's checkpoint hook, made safe against a kill at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmav.files import atomic_write, remove_torn_files
from mmav.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """Saves checkpoints as MMEngine's hook of this name does, but deletes an old one only when the new one is whole.

    MMEngine deletes first, also for ``save_best``: a kill in between leaves nothing. Its arguments are unchanged.
    """

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def before_train(self, runner: Runner) -> None:
        """Sets the folder up and removes what an earlier, killed run left half-written."""
        super().before_train(runner)
        if is_main_process():
            remove_torn_files(self.out_dir)
            remove_torn_files(runner.work_dir)
        cycle = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if not self.by_epoch and self.interval > 0 and self.interval % cycle:
            runner.logger.warning(
                f'A checkpoint is saved every {self.interval} iterations, no multiple of accumulative_counts={cycle}: '
                'a run that is resumed from one loses the gradients of the cycle that was begun there'
            )

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
        # MMEngine deletes the best checkpoint that it knows of before it writes the new one: let it know of none
        if len(self.key_indicators) == 1:
            old = self.best_ckpt_path
            self.best_ckpt_path = None
            super()._save_best_checkpoint(runner, metrics)
            replaced = {old} if self.best_ckpt_path else set()
            self.best_ckpt_path = self.best_ckpt_path or old
            current = {self.best_ckpt_path}
        else:
            olds = dict(self.best_ckpt_path_dict)
            self.best_ckpt_path_dict = dict.fromkeys(olds)
            super()._save_best_checkpoint(runner, metrics)
            replaced = {olds[key] for key, path in self.best_ckpt_path_dict.items() if path}
            self.best_ckpt_path_dict = {key: path or olds[key] for key, path in self.best_ckpt_path_dict.items()}
            current = set(self.best_ckpt_path_dict.values())
        if is_main_process():
            for path in replaced - current:
                if path is not None:
                    self._remove(path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
