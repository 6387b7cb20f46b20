"""Resume points in mid-epoch: every so many iterations, and when the machine is about to be taken away."""

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
from mmav.errors import ConfigError, did_you_mean
from mmav.files import atomic_write
from mmav.registry import HOOKS

# Under this name the log's hub, which checkpoints hold, knows the resume points that were written.
RESUME_POINTS = 'resume_points'
# by which a program may be asked to stop, on whatever system
POSIX = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU', 'SIGALRM', 'SIGBREAK', 'SIGCONT')


class TrainingStopped(Exception):
    """Training was asked to stop, and all that is needed to go on is saved; no error."""


@HOOKS.register_module()
class ResumePointHook(Hook):
    """Saves ``iter_N.pth``, from which ``--resume`` goes on in mid-epoch, and stops training when a signal asks for it.

    Schedulers of clusters send a signal some time before they take a machine away: SIGTERM, or the one that was asked
    for (Slurm: ``--signal=USR1@180``). Then the iteration is finished, the position saved, and the program ends with
    status 0. In validation nothing needs to be saved: the epoch is, and in a training by iterations a resume point is
    written before each validation.

    Where checkpoints are asked for after so many iterations, they are called ``iter_N.pth`` and resume points
    ``resume_iter_N.pth``. Nothing but resume points is deleted.

    While gradients are accumulated the end of the cycle is waited for, as gradients are not saved.

    Args:
        interval: Iterations from one resume point to the next; None for none but those of signals. The one before is
            deleted when the new one is whole, and so is the last when the epoch's own checkpoint is.
        signals: Names of the signals; those that the system lacks are passed over.
        agree_every: With several processes, iterations between two questions whether one of them got a signal. They
            must stop at the same iteration.

    Raises:
        ConfigError: There is no signal of a name, or a number is below 1.
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
        # what a system does not have, as Windows most, nobody can send there
        self._signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]
        self._previous: dict[int, Any] = {}
        self._got: int | None = None
        self._questions = 0
        self._stopping = False

    def before_train(self, runner: Runner) -> None:
        """Begins to listen to the signals."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self._signals}

    def after_train(self, runner: Runner) -> None:
        """Stops listening; what the last checkpoint makes superfluous is deleted."""
        self._restore()
        self._delete_outdated(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Deletes the resume point that the last epoch's checkpoint makes superfluous."""
        self._delete_outdated(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Saves the position where it is time, or where a signal came; then training ends.

        Raises:
            TrainingStopped: A signal came.
        """
        wrapper = runner.optim_wrapper
        whole = wrapper.should_update() if hasattr(wrapper, 'should_update') else True
        self._stopping = self._asked_to_stop() or self._stopping
        if not whole:
            return
        by_iterations = getattr(runner.train_loop, 'by_iterations', False)
        # Where the epoch ends here its own checkpoint follows; a validation between epochs comes after it.
        last = not by_iterations and batch_idx + 1 >= len(runner.train_dataloader)
        before_validation = by_iterations and runner.train_loop.validates_next
        if self._stopping or (
            self.interval and not last and ((runner.iter + 1) % self.interval == 0 or before_validation)
        ):
            path = self._save(runner)
            if self._stopping:
                self._restore()
                raise TrainingStopped(f'{self._reason()}: {path} is saved, --resume goes on from there')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Ends training where a signal comes in validation.

        Raises:
            TrainingStopped: A signal came.
        """
        if runner.train_loop is not None and self._previous and self._asked_to_stop():
            self._restore()
            raise TrainingStopped(f'{self._reason()} in validation: --resume goes on from the last checkpoint')

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
            # CheckpointHook has counted to the same iteration.
            return counted
        # Checkpoints that were asked for after so many iterations must not be taken for resume points.
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
        """Names of the resume points that this run, or those that it goes on with, wrote and has not deleted."""
        hub = runner.message_hub
        return list(hub.get_info(RESUME_POINTS)) if RESUME_POINTS in hub.runtime_info else []

    def _delete_outdated(self, runner: Runner) -> None:
        last = last_checkpoint(runner.work_dir) if is_main_process() else None
        if last is not None and last.is_file() and last.name not in self._mine(runner):
            # one that was written later is what this run goes on from: it was killed before last_checkpoint named it
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
