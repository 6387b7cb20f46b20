"""The line of each epoch, and bars that are as long as what is done."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmav.analysis.folder import progress
from mmav.analysis.folder.progress import EpochLineHook
from mmav.analysis.folder.timing import EpochTime


@pytest.fixture
def runner():
    hub = MessageHub('test_progress')
    hub.update_scalar('train/loss', 1.25)
    return SimpleNamespace(
        epoch=0, max_epochs=12, message_hub=hub, train_dataloader=range(4), val_dataloader=range(2),
        test_dataloader=range(3),
    )  # fmt: skip


def test_a_line_an_epoch(runner, capsys):
    hook = EpochLineHook(show=False)
    hook.before_train(runner)
    for epoch, (accuracy, best) in enumerate([(0.5, 0.5), (0.25, 0.5), (0.75, 0.75)], 1):
        hook.before_train_epoch(runner)
        hook.after_train_iter(runner, 0)
        hook.after_train_epoch(runner)
        runner.epoch = epoch
        runner.message_hub.update_info('best_score', best)
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0)
        hook.after_val_epoch(runner, dict(top1=accuracy))
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(' +about .*', '', line) for line in lines] == [
        '  epoch  1 of 12   accuracy  50.0% (the best so far)   loss 1.250',
        '  epoch  2 of 12   accuracy  25.0% (best 50.0%)   loss 1.250',
        '  epoch  3 of 12   accuracy  75.0% (the best so far)   loss 1.250',
    ]


@pytest.mark.parametrize(
    ('seconds', 'minutes', 'told'),
    [
        # 20 and 11 times 10 s would be 2.2 min, and is told from 3 min on
        ((24.0, 12.0, 12.0), 2.0, []),
        # processes that read were started
        ((36.0, 12.0, 12.0), 2.0, []),
        ((62.0, 31.0, 31.0), None, []),
        ((62.0, 31.0, 31.0), 2.0, ['about 6 min in place of --minutes 2']),
        ((20.0, 10.0, 300.0), 2.0, ['about 17 min in place of --minutes 2']),
    ],
)
def test_a_line_once_where_the_time_will_not_do(runner, capsys, monkeypatch, seconds, minutes, told):
    clock = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
    hook = EpochLineHook(show=False, expected=EpochTime(20.0, 10.0), minutes=minutes)
    hook.before_train(runner)
    for epoch, each in enumerate(seconds, 1):
        clock[0] += each
        runner.epoch = epoch
        hook.after_val_epoch(runner, dict(top1=0.5))
    lines = [line for line in capsys.readouterr().out.splitlines() if 'longer than estimated' in line]
    assert len(lines) == len(told) and all(words in line for words, line in zip(told, lines, strict=True))


def test_no_line_without_an_accuracy(runner, capsys):
    EpochLineHook(show=False).after_val_epoch(runner, dict(loss=1.0))
    EpochLineHook(show=False).after_val_epoch(runner)
    assert capsys.readouterr().out == ''


def test_bars_on_a_terminal(runner, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    hook = EpochLineHook()
    hook.before_train_epoch(runner)
    # a resumed epoch begins in the middle
    hook.after_train_iter(runner, 2)
    assert hook._bar.n == 3 and hook._bar.total == 4
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0)
    assert hook._bar.n == 1 and hook._bar.total == 3
    hook.after_test_epoch(runner)
    hook.after_run(runner)
    assert hook._bar is None and 'epoch 1 of 12' in terminal.getvalue() and 'test' in terminal.getvalue()
