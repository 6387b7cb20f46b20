from types import SimpleNamespace

import pytest

from mmav.analysis.ablation.killing import Hopeless, KillHook, KillRule, check_rules
from mmav.errors import ConfigError

RULE = KillRule('top1', '<', 0.2, 3)


def test_verdicts():
    assert RULE.verdict(dict(top1=0.2)) is None
    assert RULE.verdict(dict(top1=0.1999)) == 'killed after epoch 3: top1 0.1999 < 0.2'
    assert 'killed' in RULE.verdict(dict(top1=float('nan')))
    assert KillRule.read('loss>3@1').verdict(dict(loss=4)) == 'killed after epoch 1: loss 4 > 3'
    with pytest.raises(ConfigError, match=r"the validation has no 'top1', did you mean 'top5'\? \(it has: top5\)"):
        RULE.verdict(dict(top5=1.0))


@pytest.mark.parametrize('text', ['top1', 'top1<0.2', 'top1<a@3', 'top1=0.2@3', '<0.2@3'])
def test_no_rule(text):
    with pytest.raises(ConfigError, match=f'--kill {text}: give METRIC<VALUE@EPOCH'):
        KillRule.read(text)


def test_it_is_judged_after_its_epoch_alone():
    hook = KillHook([RULE])
    for epoch in (1, 2, 4):
        hook.after_val_epoch(SimpleNamespace(epoch=epoch), dict(top1=0.0))
    with pytest.raises(Hopeless, match='killed after epoch 3'):
        hook.after_val_epoch(SimpleNamespace(epoch=3), dict(top1=0.0))


def test_a_run_that_was_stopped_before_the_verdict_is_judged_when_it_goes_on():
    asked = []
    hook, loop = KillHook([RULE]), SimpleNamespace(run=lambda: asked.append(1))
    for epoch in (0, 2, 4):
        hook.before_train(SimpleNamespace(epoch=epoch, val_loop=loop))
    assert not asked
    hook.before_train(SimpleNamespace(epoch=3, val_loop=loop))
    assert asked == [1]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({}, None),
        (dict(val_cfg=None), 'has no validation: leave --kill out'),
        (dict(train_cfg=dict(max_iters=9)), 'trains by iterations'),
        (dict(train_cfg=dict(max_epochs=3)), 'trains 3 epochs: give one before the last'),
        (dict(train_cfg=dict(max_epochs=9, val_interval=2)), 'does not validate after epoch 3'),
        (dict(test_dataloader=dict(dataset=dict(ann_file='val.csv'))), "validates on its test list, 'val.csv'"),
    ],
)
def test_rows_that_cannot_follow(changes, message):
    cfg = dict(
        train_cfg=dict(max_epochs=9),
        val_cfg=dict(),
        val_dataloader=dict(dataset=dict(ann_file='val.csv')),
        test_dataloader=dict(dataset=dict(ann_file='test.csv')),
    )
    if message is None:
        check_rules([RULE], cfg | changes, 'toy', by_test_list=False)
        return
    with pytest.raises(ConfigError, match=f"--kill top1<0.2@3: row 'toy' .*{message}"):
        check_rules([RULE], cfg | changes, 'toy', by_test_list=False)
    if 'test_dataloader' in changes:
        check_rules([RULE], cfg | changes, 'toy', by_test_list=True)
