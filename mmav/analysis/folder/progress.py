"""What a user sees while a folder's model trains: a progress bar, and a line with the accuracy after each epoch."""

from __future__ import annotations

import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from mmav.analysis.folder.timing import EpochTime

# the share of the time from which on it is told, and seconds that a start may take besides
_FAR, _START = 1.5, 10.0


class EpochLineHook(Hook):
    """Shows a bar of an epoch's iterations, and prints a line after each validation.

    Args:
        show: Whether to show bars, on a terminal; lines are printed in any case.
        expected: How long epochs should take.
        minutes: That training may take; a line says so, once, if it will be far more. None for any time.
    """

    # after CheckpointHook has decided which epoch is the best one
    priority = 'LOWEST'

    def __init__(self, *, show: bool = True, expected: EpochTime | None = None, minutes: float | None = None) -> None:
        self.show, self._expected, self._minutes = show, expected, minutes
        self._bar: Any = None
        self._begun, self._first = 0.0, 0

    def before_train(self, runner: Runner) -> None:
        """Notes when training begins, for the time left."""
        self._begun, self._first = time.monotonic(), runner.epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Opens a bar."""
        title = f'epoch {runner.epoch + 1} of {runner.max_epochs}'
        self._open(title, len(runner.train_dataloader))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Advances the bar."""
        # a resumed epoch begins in the middle
        self._advance(batch_idx + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Closes the bar."""
        self._close()

    def before_val_epoch(self, runner: Runner) -> None:
        """Opens a bar."""
        self._open('validation', len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advances the bar."""
        self._advance(batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Prints the line of the epoch."""
        self._close()
        accuracy = (metrics or {}).get('top1')
        if accuracy is None:
            return
        hub = runner.message_hub
        loss = f'   loss {hub.get_scalar("train/loss").mean():.3f}' if 'train/loss' in hub.log_scalars else ''
        done = max(runner.epoch - self._first, 1)
        left = (time.monotonic() - self._begun) / done * (runner.max_epochs - runner.epoch)
        best = float(hub.get_info('best_score')) if 'best_score' in hub.runtime_info else accuracy
        words = 'the best so far' if accuracy >= best else f'best {best:.1%}'
        width = len(str(runner.max_epochs))
        print(
            f'  epoch {runner.epoch:{width}} of {runner.max_epochs}   accuracy {accuracy:6.1%} ({words}){loss}'
            f'   {_left(left)}'.rstrip(),
            flush=True,
        )
        self._tell_if_late(time.monotonic() - self._begun, done, runner.max_epochs)

    def _tell_if_late(self, seconds: float, done: int, epochs: int) -> None:
        """Says once that the time will not do, if epochs take much longer than they should."""
        if self._expected is None or self._minutes is None:
            return
        # a ratio, as the first epoch fills the cache
        whole = (seconds - _START) / self._expected.of(done) * self._expected.of(epochs) / 60
        if whole > _FAR * self._minutes and done < epochs:
            print(
                f'  epochs take longer than estimated: {epochs} will take about {whole:.0f} min in place of '
                f'--minutes {self._minutes:g}; for fewer, stop (Ctrl-C) and give --epochs and another --name',
                flush=True,
            )
            self._minutes = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Opens a bar."""
        self._open('test', len(runner.test_dataloader))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advances the bar."""
        self._advance(batch_idx + 1)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Closes the bar."""
        self._close()

    def after_run(self, runner: Runner) -> None:
        """Closes what a stop has left open."""
        self._close()

    def _open(self, title: str, total: int) -> None:
        self._close()
        self._bar = tqdm(total=total, desc=title, unit='batch', leave=False, disable=None if self.show else True)

    def _advance(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _left(seconds: float) -> str:
    """The time left in words; nothing at the end.

    >>> _left(200.0), _left(42.0), _left(0.0)
    ('about 3 min left', 'about 42 s left', '')
    """
    if seconds >= 90:
        return f'about {seconds / 60:.0f} min left'
    return f'about {seconds:.0f} s left' if seconds >= 1 else ''
