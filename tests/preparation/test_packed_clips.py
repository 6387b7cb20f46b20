"""Prepared clips that end in shards: nothing is lost where a run is killed, and nothing is prepared twice."""

from __future__ import annotations

import shutil

import pytest

from mmav.datasets.shards.shard_set import open_shards
from mmav.errors import MmavError
from mmav.outputs import RECORD
from mmav.preparation import packed_clips
from mmav.preparation.checking import read_rows
from mmav.preparation.packed_clips import forget_shards, pack_prepared, packed_names, require_packing

NAMES = ['a/0.mp4', 'a/b/1.mp4', '2.mp4']


@pytest.fixture
def out(tmp_path):
    """A folder of prepared clips."""
    (tmp_path / 'a/b').mkdir(parents=True)
    for k, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(bytes([k]) * (500 + k))
    (tmp_path / 'a' / RECORD).write_text('')
    (tmp_path / 'train.csv').write_text('path,label\n' + ''.join(f'{name},x\n' for name in NAMES))
    return tmp_path


def run(out, *, force=False):
    return pack_prepared(out, [read_rows(str(out / 'train.csv'))], size=4000, seed=None, jobs=1, force=force)


def test_files_go_once_they_are_packed(out):
    require_packing(out, NAMES)
    assert run(out).clips == 3
    assert not (out / 'a').exists() and not (out / '2.mp4').exists() and (out / 'train.csv').exists()
    assert open_shards('shards', str(out)).member('a/b/1.mp4').read() == bytes([1]) * 501
    assert list(packed_names(out)) == NAMES
    assert run(out) is None
    with pytest.raises(MmavError, match='are packed in shards: give --shards'):
        require_packing(out, NAMES)


def test_a_run_that_was_killed_while_it_removed_files(out, monkeypatch):
    monkeypatch.setattr(packed_clips, '_remove', lambda out, names: (out / names[0]).unlink())
    run(out)
    monkeypatch.undo()
    assert (out / '2.mp4').exists()
    assert run(out) is None and not (out / '2.mp4').exists() and not (out / 'a').exists()


def test_all_files_are_there_still(out, monkeypatch):
    monkeypatch.setattr(packed_clips, '_remove', lambda out, names: None)
    run(out)
    monkeypatch.undo()
    # one was prepared anew meanwhile
    (out / '2.mp4').write_bytes(b'new')
    assert run(out).written >= 1
    assert open_shards('shards', str(out)).member('2.mp4').read() == b'new'


def test_a_new_clip_needs_all(out, tmp_path):
    shutil.copytree(out, tmp_path / 'kept')
    run(out)
    for name in ('2.mp4', '3.mp4'):
        (out / name).write_bytes(b'new')
        with (out / 'train.csv').open('a') as file:
            file.write('3.mp4,x\n' if name == '3.mp4' else '')
        with pytest.raises(MmavError, match=f'{name} is new or has changed since .* --force prepares all again'):
            run(out)
        (out / name).unlink()
    with pytest.raises(MmavError, match='3.mp4 is new'):
        run(out)
    # with --force, all are prepared again, here copied
    forget_shards(out)
    assert packed_names(out) == {}
    shutil.copytree(tmp_path / 'kept', out, dirs_exist_ok=True)
    assert run(out, force=True).clips == 3
