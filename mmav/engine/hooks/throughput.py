"""Training throughput of all processes, in clips per second."""

from __future__ import annotations

from collections import deque
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmav.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Adds ``clips_per_s`` to the training log: clips of all processes per second, data loading included.

    The mean is over the window of MMEngine's ``LogProcessor``, like ``time``, not over the whole run, so a disk that
    slows down shows at once. A clip with several views counts once; validation and saving do not count.
    """

    # after IterTimerHook (NORMAL), whose time it uses, before LoggerHook (BELOW_NORMAL)
    priority = 55

    def before_train(self, runner: Runner) -> None:
        """Resets the window."""
        self._recent: deque[tuple[int, float]] = deque(maxlen=runner.log_processor.window_size)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Counts the clips of a batch; the samplers give every process equally many."""
        seconds = runner.message_hub.get_scalar('train/time').current()
        self._recent.append((len(data_batch['data_samples']) * get_world_size(), seconds))
        clips, time = (sum(column) for column in zip(*self._recent, strict=True))
        runner.message_hub.update_scalar('train/clips_per_s', round(clips / max(time, 1e-9), 2))
