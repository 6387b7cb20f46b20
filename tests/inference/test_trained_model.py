import pytest

from mmav.errors import ManifestError
from mmav.inference.trained_model import find_classes

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
