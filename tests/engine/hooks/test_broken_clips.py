import logging
from types import SimpleNamespace

from mmav.engine import BrokenClipHook


def runner(dataset):
    return SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset), logger=logging.getLogger('test_hooks'))


class Clips(list):
    def broken_count(self):
        return 2

    def damaged_count(self):
        return 1


def test_broken_clips_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        BrokenClipHook().after_train_epoch(runner(Clips([1, 2, 3])))
        BrokenClipHook().after_train_epoch(runner([1, 2, 3]))
    twice = SimpleNamespace(dataset=Clips([1, 2, 3]), __len__=lambda: 6)  # a wrapper, whose repeats are not clips
    caplog.records.pop()
    with caplog.at_level(logging.WARNING):
        BrokenClipHook().after_train_epoch(runner(twice))
    assert caplog.records.pop(1).getMessage() == '2 of 3 training clips could not be read and were replaced by others'
    assert [record.getMessage() for record in caplog.records] == [
        '2 of 3 training clips could not be read and were replaced by others',
        '1 of 3 training clips are damaged; the part that can be decoded is used',
    ]
