"""How many training clips could not be read, in the log after each epoch."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmav.engine.hooks.seed import datasets_within, methods_within
from mmav.registry import HOOKS


@HOOKS.register_module()
class BrokenClipHook(Hook):
    """Logs how many clips of the training set could not be read so far and how many are damaged.

    Needs ``dataset.broken_count()``, ``dataset.damaged_count()``.
    """

    priority = 'LOW'

    def after_train_epoch(self, runner: Runner) -> None:
        """Logs the counts if they are not 0. Each rank counts the clips it has read; rank 0 logs."""
        dataset = runner.train_dataloader.dataset
        total = sum(len(part) for part in datasets_within(dataset) if hasattr(part, 'broken_count'))
        for counter, fate in (
            ('broken_count', 'could not be read and were replaced by others'),
            ('damaged_count', 'are damaged; the part that can be decoded is used'),
        ):
            number = sum(count() for count in methods_within(dataset, counter))
            if number:
                runner.logger.warning(f'{number} of {total} training clips {fate}')
