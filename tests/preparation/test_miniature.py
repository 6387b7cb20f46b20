"""Miniature trees: official readers take their lists, they are deterministic, and replace nothing of others."""

import pytest

from mmav.datasets.media.probe import probe
from mmav.errors import ConfigError, OutputError
from mmav.preparation.epic_kitchens import read_epic_kitchens
from mmav.preparation.kinetics_sounds import read_kinetics_sounds
from mmav.preparation.manifests import prepare
from mmav.preparation.miniature import TREES, make_miniature
from mmav.preparation.vggsound import read_vggsound


def official(dataset, out):
    """Reads a tree as the tool of the official dataset does."""
    if dataset == 'vggsound':
        return read_vggsound([str(out / 'vggsound.csv')])
    if dataset == 'kinetics_sounds':
        return read_kinetics_sounds(*(str(out / f'kinetics400_{split}.csv') for split in ('train', 'val')))
    return read_epic_kitchens(str(out / 'annotations'))


@pytest.mark.parametrize('dataset', TREES)
def test_the_official_preparation_finds_every_clip(dataset, tmp_path):
    made = make_miniature(dataset, tmp_path / 'tree', train=9, test=3, progress=False)
    assert made.startswith(f'mmav prepare-{dataset.replace("_", "-")} ')
    prepare(official(dataset, tmp_path / 'tree'), str(tmp_path / 'tree'), str(tmp_path / 'tree'))
    for split, rows in dict(train=9, test=3).items():
        assert (tmp_path / 'tree' / f'{split}.csv').read_text().count('\n') == 1 + rows
    assert (tmp_path / 'tree' / 'missing.csv').read_text().count('\n') == 1


def test_official_peculiarities(tmp_path):
    make_miniature('vggsound', tmp_path / 'v', train=2, test=1, progress=False)
    lines = (tmp_path / 'v' / 'vggsound.csv').read_text().splitlines()
    assert lines[0].startswith('-') and lines[0].endswith(',train') and '"' in lines[0]  # a quoted label, no header
    make_miniature('epic_kitchens', tmp_path / 'e', train=9, test=9, progress=False)
    (one, two), (seen, unseen) = (
        sorted(path.name for path in (tmp_path / 'e' / 'videos').glob(f'*_{pattern}.MP4')) for pattern in ('0*', '1*')
    )
    assert (one, two, seen, unseen) == ('P01_01.MP4', 'P02_02.MP4', 'P01_101.MP4', 'P18_102.MP4')
    found = probe(str(tmp_path / 'e' / 'videos' / one))
    assert found.duration == pytest.approx(16, abs=0.2)  # untrimmed: eight segments of two seconds


def test_an_interrupted_tree_goes_on_and_equals_a_whole_one(tmp_path):
    for name in ('whole', 'torn'):
        make_miniature('kinetics_sounds', tmp_path / name, train=2, test=1, progress=False)
    lost = sorted((tmp_path / 'torn' / 'clips').glob('*.mp4'))[0]
    lost.unlink()
    make_miniature('kinetics_sounds', tmp_path / 'torn', train=2, test=1, progress=False)
    assert lost.read_bytes() == (tmp_path / 'whole' / 'clips' / lost.name).read_bytes()


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="no miniature of 'vgsound', did you mean 'vggsound'"):
        make_miniature('vgsound', tmp_path)
    with pytest.raises(ConfigError, match='test is 0: take 1 or more'):
        make_miniature('vggsound', tmp_path, test=0)
    (tmp_path / 'mine.txt').write_text('x')
    with pytest.raises(OutputError, match='holds files that are no miniature tree'):
        make_miniature('vggsound', tmp_path)
    make_miniature('vggsound', tmp_path / 'a', train=1, test=1, progress=False)
    with pytest.raises(OutputError, match="holds the miniature tree .*'train': 1.*give another folder"):
        make_miniature('vggsound', tmp_path / 'a', train=2, test=1, progress=False)
