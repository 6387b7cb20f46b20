import pytest
import torch

from mmav.engine.class_merge import alike, alike_kind, check_rows
from mmav.errors import CheckpointError

VERBS, NOUNS = ('cut', 'wash'), ('cup', 'pan', 'tap')


def checkpoint(classes, **weights):
    return dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=weights)


def test_verbs_and_nouns_are_put_in_order():
    weights = {f'head.{part}.fcs.x.bias': torch.arange(float(n)) for part, n in (('verb', 2), ('noun', 3))}
    turned = checkpoint(dict(verb=VERBS[::-1], noun=NOUNS), **weights)
    state, names = alike(turned, dict(verb=VERBS, noun=NOUNS), 'b.pth')
    assert names == dict(verb=VERBS, noun=NOUNS)
    assert state['head.verb.fcs.x.bias'].tolist() == [1, 0] and state['head.noun.fcs.x.bias'].tolist() == [0, 1, 2]
    assert turned['state_dict']['head.verb.fcs.x.bias'].tolist() == [0, 1]  # the file's stay


def test_the_names_of_either_count_for_both():
    nameless, named = dict(state_dict=dict(x=torch.zeros(1))), checkpoint(['a', 'b'])
    assert alike(nameless, None, 'a.pth')[1] is None
    assert (
        alike(named, None, 'b.pth')[1] == alike(nameless, dict(label=('a', 'b')), 'a.pth')[1] == dict(label=('a', 'b'))
    )


def test_what_cannot_be_joined():
    with pytest.raises(CheckpointError, match="other classes .*the one before names label, 'b.pth' verb and noun"):
        alike(checkpoint(dict(verb=VERBS, noun=NOUNS)), dict(label=('a', 'b')), 'b.pth')
    deep = {'head.0.weight': torch.zeros(2, 4), 'head.1.weight': torch.zeros(2, 2)}
    with pytest.raises(CheckpointError, match="in a head that is not ClsHead's"):
        alike(checkpoint(['b', 'a'], **deep), dict(label=('a', 'b')), 'b.pth')
    one, other = ({f'head.noun.fcs.{x}.bias': torch.zeros(n)} for x, n in (('a', 3), ('b', 4)))
    check_rows(one, one, 'b.pth')
    with pytest.raises(CheckpointError, match='tells 4 classes apart, the one before 3'):
        check_rows(one, other, 'b.pth')


@pytest.mark.parametrize('part', ['verb', 'adverb'])
def test_every_part_has_as_many_classes(part):
    one, other = (
        {f'head.{part}.fcs.{name}.weight': torch.zeros(rows, 2)} for name, rows in (('video', 3), ('audio', 4))
    )
    with pytest.raises(CheckpointError, match="^'b.pth' tells 4 classes apart, the one before 3"):
        check_rows(one, other, 'b.pth')


def test_both_of_one_kind_of_labels():
    one, several, silent = checkpoint(['a']), checkpoint(['a']), checkpoint(['a'])
    one['meta']['multi_label'], several['meta']['multi_label'] = False, True
    assert [alike_kind(each, None, 'a.pth') for each in (one, several, silent, {})] == [False, True, None, None]
    assert alike_kind(silent, True, 'b.pth') is True and alike_kind(several, True, 'b.pth') is True
    with pytest.raises(CheckpointError, match="'b.pth' was trained with one label a clip, the one before with any"):
        alike_kind(one, True, 'b.pth')
