import pytest
import torch

from mmav.class_names import by_part, classes_of, holders, in_config, noted_in, reordered, trained_with
from mmav.errors import ManifestError


def test_names_in_any_form():
    assert by_part(('a', 1)) == dict(label=('a', '1'))
    assert by_part(dict(verb=['cut'], noun=['cup'])) == dict(verb=('cut',), noun=('cup',))
    for nothing in (None, [], 'classes.txt', dict(verb=['cut'], noun=None), {}, 3):
        assert by_part(nothing) is None


def test_names_in_a_checkpoint(tmp_path):
    content = dict(meta=dict(dataset_meta=dict(classes=['a', 'b'])), state_dict=dict(x=torch.zeros(3)))
    assert trained_with(content) == dict(label=('a', 'b'))
    torch.save(content, tmp_path / 'a.pth')
    assert noted_in(str(tmp_path / 'a.pth')) == dict(label=('a', 'b'))
    # bare weights, of which one may be called anything; metas of others
    for other in (dict(meta=torch.zeros(1)), dict(meta={}), dict(meta=dict(dataset_meta=None)), dict(x=torch.zeros(1))):
        assert trained_with(other) is None
    (tmp_path / 'torn.pth').write_bytes(b'PK')
    assert noted_in(str(tmp_path / 'torn.pth')) is None and noted_in('https://gone/x.pth') is None


def test_the_same_names():
    assert reordered(dict(label=('a', 'b')), dict(label=('b', 'a')))
    assert not reordered(dict(label=('a', 'a')), dict(label=('a', 'a')))  # whose row is whose?
    assert not reordered(dict(label=('a',)), dict(verb=('a',)))
    assert not reordered(dict(label=('a', 'b')), dict(label=('a', 'b', 'c')))


class Data:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_data_sets_inside_wrappers():
    one, two = Data(metainfo=dict(classes=['a'])), Data(metainfo=dict(classes=['a']), extra=1)
    joined = Data(datasets=[one, Data(dataset=two)])
    assert list(holders(joined, 'metainfo')) == [one, two] and list(holders(joined, 'extra')) == [two]
    assert classes_of(joined, 'x') == dict(label=('a',)) and classes_of(Data(), 'x') is None
    # what relabels its clips says so
    assert classes_of(Data(dataset=one, metainfo=dict(classes=['all'])), 'x') == dict(label=('all',))


def test_names_in_a_config(tmp_path):
    (tmp_path / 'v.txt').write_text('cut\nwash')
    root = str(tmp_path)
    assert in_config(dict(classes=['a'])) == dict(label=('a',))
    assert in_config(dict(data_root=root, classes=dict(verb='v.txt', noun=['cup']))) == dict(
        verb=('cut', 'wash'), noun=('cup',)
    )
    assert in_config(dict(data_root=root, ann_file='a.csv')) is None and in_config({}) is None
    with pytest.raises(ManifestError, match='classes.txt'):
        in_config(dict(data_root=root, ann_file='a.csv'), missing_ok=False)
