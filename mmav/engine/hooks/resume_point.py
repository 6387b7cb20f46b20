"""Resume points in mid-epoch: every N iterations, and on a signal, for example before preemption."""

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmav.checkpoints import last_checkpoint
from mmav.errors import ConfigError, TrainingStopped, did_you_mean
from mmav.files import atomic_write
from mmav.registry import HOOKS

# key in the message hub, which checkpoints store, for the resume points written so far
RESUME_POINTS = 'resume_points'
# signals that may ask a program to stop, on any system
POSIX = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU', 'SIGALRM', 'SIGBREAK', 'SIGCONT')


@HOOKS.register_module()
class ResumePointHook(Hook):
    """Saves ``iter_N.pth``, from which ``--resume`` continues in mid-epoch, and stops training on a signal.

    Cluster schedulers send a signal before they preempt a job: SIGTERM, or the one requested (Slurm:
    ``--signal=USR1@180``). The hook then finishes the iteration, saves the position, and ends the program with status
    0. During validation nothing needs saving: the epoch is already saved, and training by iterations writes a resume
    point before each validation.

    If checkpoints are saved by iterations, they are called ``iter_N.pth`` and resume points ``resume_iter_N.pth``. Only
    resume points are deleted.

    With accumulated gradients the hook waits for the end of the cycle, as gradients are not saved.

    Args:
        interval: Iterations from one resume point to the next; None saves on signals only. The previous one is deleted
            once the new one is complete, and the last one once the epoch's checkpoint is.
        signals: Names of the signals; those that the system lacks are ignored.
        agree_every: With several processes, iterations between checks of whether one of them got a signal, as all must
            stop at the same iteration.

    Raises:
        ConfigError: A signal does not exist, or a number is below 1.
    """

    # after all other hooks have seen the iteration
    priority = 'LOWEST'

    def __init__(
        self,
        interval: int | None = None,
        signals: tuple[str, ...] | list[str] = ('SIGTERM', 'SIGUSR1'),
        agree_every: int = 10,
    ) -> None:
        if min(agree_every, 1 if interval is None else interval) < 1:
            raise ConfigError(f'interval={interval} and agree_every={agree_every} must be at least 1')
        unknown = [name for name in signals if name not in POSIX and not hasattr(signal, name)]
        if unknown:
            raise ConfigError(f'there is no signal {unknown[0]!r}{did_you_mean(unknown[0], POSIX)}')
        self.interval = interval
        self.agree_every = agree_every
        # Windows lacks most of them
        self._signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]
        self._previous: dict[int, Any] = {}
        self._got: int | None = None
        self._questions = 0
        self._stopping = False

    def before_train(self, runner: Runner) -> None:
        """Installs the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self._signals}

    def after_train(self, runner: Runner) -> None:
        """Restores the signal handlers, and deletes what the last checkpoint makes redundant."""
        self._restore()
        self._delete_outdated(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Deletes the resume point that the last epoch's checkpoint makes redundant."""
        self._delete_outdated(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Saves the position every ``interval`` iterations, or on a signal, which ends training.

        Raises:
            TrainingStopped: A signal was received.
        """
        wrapper = runner.optim_wrapper
        whole = wrapper.should_update() if hasattr(wrapper, 'should_update') else True
        self._stopping = self._asked_to_stop() or self._stopping
        if not whole:
            return
        by_iterations = getattr(runner.train_loop, 'by_iterations', False)
        # at the end of an epoch its own checkpoint follows, and then the validation
        last = not by_iterations and batch_idx + 1 >= len(runner.train_dataloader)
        before_validation = by_iterations and runner.train_loop.validates_next
        if self._stopping or (
            self.interval and not last and ((runner.iter + 1) % self.interval == 0 or before_validation)
        ):
            path = self._save(runner)
            if self._stopping:
                self._restore()
                raise TrainingStopped(f'{self._reason()}: {path} is saved, --resume continues from there')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Ends training on a signal during validation.

        Raises:
            TrainingStopped: A signal was received.
        """
        if runner.train_loop is not None and self._previous and self._asked_to_stop():
            self._restore()
            raise TrainingStopped(f'{self._reason()} in validation: --resume continues from the last checkpoint')

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._got = number

    def _reason(self) -> str:
        return f'stopped by {signal.Signals(self._got).name}' if self._got else 'stopped, as another process was'

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _asked_to_stop(self) -> bool:
        if get_world_size() == 1:
            return self._got is not None
        self._questions += 1
        if self._questions % self.agree_every:
            return False
        asked = torch.tensor(float(self._got is not None))
        if torch.distributed.get_backend() == 'nccl':
            asked = asked.cuda()
        all_reduce(asked, op='max')
        return bool(asked)

    def _save(self, runner: Runner) -> Path:
        counted = Path(runner.work_dir) / f'iter_{runner.iter + 1}.pth'
        saved = [last_checkpoint(runner.work_dir) == counted if is_main_process() else None]
        broadcast_object_list(saved)
        if saved[0]:
            # CheckpointHook has just saved this iteration
            return counted
        # checkpoints saved by iterations must not be mistaken for resume points
        others = any(isinstance(hook, CheckpointHook) and not hook.by_epoch for hook in runner.hooks)
        path = counted.with_name(f'{"resume_" if others else ""}{counted.name}')
        mine = self._mine(runner)
        runner.message_hub.update_info(RESUME_POINTS, [*(name for name in mine if name != path.name), path.name])
        runner.save_checkpoint(runner.work_dir, path.name, by_epoch=False)
        if is_main_process():
            atomic_write(path.with_name('last_checkpoint'), os.fsencode(path))
            self._delete(runner, keep=path.name)
        return path

    @staticmethod
    def _mine(runner: Runner) -> list[str]:
        """Names of the resume points that this run, or the run it resumed, wrote and has not deleted."""
        hub = runner.message_hub
        return list(hub.get_info(RESUME_POINTS)) if RESUME_POINTS in hub.runtime_info else []

    def _delete_outdated(self, runner: Runner) -> None:
        last = last_checkpoint(runner.work_dir) if is_main_process() else None
        if last is not None and last.is_file() and last.name not in self._mine(runner):
            # keep a later one: the run that wrote it was killed before last_checkpoint named it
            self._delete(runner, keep=last.name, written_before=last.stat().st_mtime_ns)

    def _delete(self, runner: Runner, keep: str, written_before: float = math.inf) -> None:
        left = []
        for name in self._mine(runner):
            path = Path(runner.work_dir) / name
            if name == keep or (path.is_file() and path.stat().st_mtime_ns >= written_before):
                left.append(name)
            else:
                path.unlink(missing_ok=True)
        runner.message_hub.update_info(RESUME_POINTS, left)
