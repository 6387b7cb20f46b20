"""A work dir is taken over from the same command only; what a result depends on is told apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from mmav.analysis.folder.plan import ABOUT, PLAN, Options, claim
from mmav.errors import OutputError
from mmav.preparation.folder.listing import list_folder


@pytest.fixture
def listing(tmp_path):
    for name in ('dog/a.mp4', 'cat/b.mp4'):
        (tmp_path / 'clips' / name).parent.mkdir(parents=True)
        (tmp_path / 'clips' / name).write_text('x')
    return list_folder(tmp_path / 'clips')


@pytest.fixture
def options(listing, tmp_path):
    return Options(listing.root, tmp_path / 'result')


def test_settings_are_what_the_result_depends_on(options, listing):
    own = options.settings(listing)
    assert own == json.loads(json.dumps(own))
    for change in (dict(epochs=3), dict(seed=1), dict(minutes=5.0), dict(modalities=('audio',)), dict(source='a')):
        assert replace(options, **change).settings(listing) != own
    assert replace(options, jobs=1, show=False, workers=0).settings(listing) == own
    (listing.root / 'dog/a.mp4').write_text('other')
    assert options.settings(listing) != own


def test_the_same_command_takes_its_folder_over(options, listing):
    settings = options.settings(listing)
    assert claim(options.work_dir, listing, settings) is None
    assert claim(options.work_dir, listing, settings) is None
    (options.work_dir / PLAN).write_text(json.dumps(dict(settings=settings, choices=[])))
    with pytest.raises(OutputError, match=r"'.*plan\.json' is there and was not written by"):
        claim(options.work_dir, listing, settings)


def test_what_is_not_ours_is_refused(options, listing):
    options.work_dir.mkdir()
    (options.work_dir / 'letter.txt').write_text('dear')
    with pytest.raises(OutputError, match=r'holds letter\.txt, which this command did not write: give another folder'):
        claim(options.work_dir, listing, options.settings(listing))
    # nor is a file by that name that someone else has written
    (options.work_dir / ABOUT).write_text('mine')
    with pytest.raises(OutputError, match='which this command did not write'):
        claim(options.work_dir, listing, options.settings(listing))


def test_the_folder_of_clips_stays_as_it_is(options, listing):
    for place in (listing.root, listing.root / 'work_dirs' / 'x'):
        with pytest.raises(OutputError, match='is inside the folder of clips, which stays as it is'):
            claim(place, listing, options.settings(listing))
    assert sorted(path.name for path in listing.root.iterdir()) == ['cat', 'dog']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(epochs=3), r'holds a training with other choices \(epochs: 2, now 3\): give another folder'),
        (dict(modalities=('audio',)), r'\(modalities: None, now \[\'audio\'\]\)'),
    ],
)
def test_other_choices_are_refused(trained, tmp_path, monkeypatch, change, message):
    shutil.copytree(trained.work_dir, tmp_path / 'copy')
    listing = list_folder(trained.folder)
    options = Options(trained.folder, tmp_path / 'copy', epochs=2)
    monkeypatch.setattr('mmav.outputs._program', 'train_folder.py')
    assert claim(options.work_dir, listing, options.settings(listing))['choices']
    with pytest.raises(OutputError, match=message):
        claim(options.work_dir, listing, replace(options, **change).settings(listing))
    fewer = replace(listing, clips=listing.clips[1:])
    with pytest.raises(OutputError, match='of this folder with other files: it has changed since'):
        claim(options.work_dir, listing, options.settings(fewer))
    other = replace(options, folder=tmp_path)
    with pytest.raises(OutputError, match=r"of another folder, '.*sounds'"):
        claim(options.work_dir, listing, other.settings(listing))
