from types import SimpleNamespace

import pytest

from mmav.errors import ConfigError, ManifestError, MmavError
from mmav.inference.trained_model import build_model, find_classes, label_thresholds
from mmav.models import ClsHead, MultiLabelHead
from mmav.registry import MODELS
from tests.synthetic import experiment

META = dict(dataset_meta=dict(classes=('trained', 'with')))


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'classes.txt').write_text('from\nfile\n')
    (tmp_path / 'verbs.txt').write_text('cut\n')
    (tmp_path / 'nouns.txt').write_text('egg\npan\n')
    return str(tmp_path)


def test_what_is_given_comes_first_then_the_checkpoint_then_the_data(root):
    dataset = dict(data_root=root)
    assert find_classes(['my', 'own'], META, dataset) == dict(label=('my', 'own'))
    assert find_classes(f'{root}/verbs.txt', META, dataset) == dict(label=('cut',))
    assert find_classes(None, META, dataset) == dict(label=('trained', 'with'))
    assert find_classes(None, {}, dataset) == dict(label=('from', 'file'))
    assert find_classes(None, {}, dict(classes=['in', 'config'])) == dict(label=('in', 'config'))


def test_of_joined_lists_the_names_of_the_whole(root):
    parts = [dict(ann_file='a.csv', data_root=root), dict(ann_file='b.csv', classes=['own', 'file'])]
    joined = dict(type='ConcatDataset', datasets=parts, classes='union', class_map=[None, dict(own='mine')])
    for dataset in (joined, dict(type='RepeatDataset', dataset=joined, times=1)):
        assert find_classes(None, {}, dataset) == dict(label=('from', 'file', 'mine'))


def test_without_any_there_are_none(tmp_path):
    assert find_classes(None, {}, dict(data_root=str(tmp_path / 'gone'))) is None
    assert find_classes(None, dict(dataset_meta=None), dict(classes='gone.txt')) is None


def test_verbs_and_nouns(root):
    names = dict(verb=('cut',), noun=('egg', 'pan'))
    lists = dict(verb='verbs.txt', noun='nouns.txt')
    assert find_classes(None, {}, dict(data_root=root, classes=lists)) == names
    assert find_classes({part: f'{root}/{name}' for part, name in lists.items()}, META, {}) == names
    assert find_classes(None, dict(dataset_meta=dict(classes=names)), {}) == names
    assert find_classes(None, {}, dict(data_root=root, classes=dict(verb='verbs.txt', noun='gone.txt'))) is None


def test_a_list_that_is_asked_for_must_be_there(tmp_path):
    with pytest.raises(ManifestError, match='gone.txt'):
        find_classes(str(tmp_path / 'gone.txt'), META, {})


def test_thresholds_of_several_labels(tmp_path):
    model = SimpleNamespace(head=MultiLabelHead(3, dict(fused=2)))
    names = dict(label=('cat', 'dog', 'owl'))
    assert label_thresholds(model, None, names)['label'].tolist() == [0.5] * 3
    assert label_thresholds(model, 0.3, None)['label'].tolist() == [0.3] * 3
    (tmp_path / 't.json').write_text('{"classes": {"owl": 0.1, "cat": 0.2, "dog": 0.9}}')
    for given in (str(tmp_path / 't.json'), dict(owl=0.1, cat=0.2, dog=0.9)):
        assert label_thresholds(model, given, names)['label'].tolist() == [0.2, 0.9, 0.1]
    for wrong in (
        dict(owl=0.1, cat=0.2),
        dict(owl=0.1, cat=0.2, dgo=0.9),
        dict(owl=0.1, cat=30, dog=0.9),
        1.5,
        str(tmp_path / 'no.json'),
    ):
        with pytest.raises(MmavError):
            label_thresholds(model, wrong, names)


def test_thresholds_of_one_label_are_refused():
    model = SimpleNamespace(head=ClsHead(3, dict(fused=2)))
    assert label_thresholds(model, None, None) is None
    with pytest.raises(ConfigError, match='this one gives one'):
        label_thresholds(model, 0.3, None)


def test_what_only_training_needs_is_not_built():
    config = {**experiment(4, optimizer=dict(type='SGD'))['model'], 'auxiliary': dict(alone=dict(type='UnimodalHeads'))}
    trained = MODELS.build(config)
    model = build_model(config, dict(state_dict=trained.state_dict()), 'trained.pth', names=None)
    assert len(trained.auxiliary) == 1 and len(model.auxiliary) == 0 and 'auxiliary' in config
    assert model.head.fcs['fused'].weight.equal(trained.head.fcs['fused'].weight)
