"""The look at the data before the first run: each thing that is missing is named, with what to do."""

import pytest

from mmav.analysis.paper.data import check_data
from mmav.analysis.paper.figures import DATASETS
from mmav.errors import ManifestError
from mmav.preparation.annotations import read_labels

DATASET = DATASETS['vggsound']


@pytest.fixture
def root(tmp_path):
    labels = read_labels('vggsound')
    (tmp_path / 'classes.txt').write_text('\n'.join([*labels, '']))
    for name, count in dict(train=3, test=2).items():
        rows = [f'clips/{name}{number}.mp4,{labels[4]}' for number in range(count)]
        (tmp_path / f'{name}.csv').write_text('\n'.join(['path,label', *rows, '']))
        (tmp_path / 'clips').mkdir(exist_ok=True)
        for number in range(count):
            (tmp_path / 'clips' / f'{name}{number}.mp4').touch()
    return tmp_path


def test_all_is_there(root):
    assert check_data(DATASET, root, progress=False) == {'train.csv': 3, 'test.csv': 2}


def test_what_is_missing_and_what_to_do(root):
    (root / 'clips' / 'test1.mp4').unlink()
    message = r"1 of the 2 files that '.*test.csv' names are missing, the first is 'clips/test1.mp4': prepare the lists"
    with pytest.raises(ManifestError, match=message):
        check_data(DATASET, root, progress=False)
    (root / 'classes.txt').write_text('a\nb\n')
    with pytest.raises(ManifestError, match=r"classes.txt' has 2 classes, and the configs have 309: prepare it with"):
        check_data(DATASET, root, progress=False)
    (root / 'test.csv').unlink()
    with pytest.raises(ManifestError, match=r'has no test.csv of VGGSound: prepare it with `mmav prepare-vggsound'):
        check_data(DATASET, root, progress=False)
    with pytest.raises(ManifestError, match=r"no folder '.*none' of VGGSound: .*or give another --data-root"):
        check_data(DATASET, root / 'none', progress=False)
