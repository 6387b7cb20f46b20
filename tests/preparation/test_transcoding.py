"""A dataset written anew: resumed, atomic, with lists that fit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from mmav.datasets import AVDataset
from mmav.datasets.media.probe import probe
from mmav.datasets.media.transcode import TranscodeOptions
from mmav.errors import MmavError, OutputError
from mmav.outputs import RECORD
from mmav.preparation import transcoding
from mmav.preparation.checking import read_rows
from mmav.preparation.transcoding import Outcome, target_names, totals, transcode_all, write_lists

OPTIONS = TranscodeOptions(short_side=24, preset='ultrafast')


@pytest.fixture
def folder(tmp_path, clip, silent, broken) -> Path:
    root = tmp_path / 'old'
    (root / 'sub').mkdir(parents=True)
    for name, source in {'sub/a.mkv': clip, 'b.mp4': silent, 'c.mp4': broken['text']}.items():
        shutil.copy(source, root / name)
    (root / 'train.csv').write_text('path,start,end,label\nsub/a.mkv,0.5,1.5,dog\nb.mp4,,,cat\nsub/a.mkv,,,dog\n')
    (root / 'test.csv').write_text('path,label\nc.mp4,cat\nb.mp4,cat\n')
    (root / 'classes.txt').write_text('cat\ndog\n')
    return root


def run(root, out, **options):
    manifests = [read_rows(str(root / name)) for name in ('train.csv', 'test.csv')]
    names = target_names([clip.path for manifest in manifests for clip in manifest.clips])
    outcomes = transcode_all(root, out, names, options.pop('options', OPTIONS), jobs=1, **options)
    return outcomes, write_lists(root, out, manifests, names, outcomes)


def test_a_data_set_of_its_own(folder, tmp_path):
    out = tmp_path / 'new'
    outcomes, counts = run(folder, out)
    assert counts == {'train.csv': (3, 0), 'test.csv': (1, 1)}
    assert (
        out / 'train.csv'
    ).read_text() == 'path,start,end,label\nsub/a.mp4,0.5,1.5,dog\nb.mp4,,,cat\nsub/a.mp4,,,dog\n'
    assert (out / 'prepare_failed.csv').read_text().startswith('path,error\nc.mp4,cannot be opened')
    assert probe(str(out / 'sub' / 'a.mp4')).height == 24
    assert totals(outcomes)['files'] == 3 and totals(outcomes)['failed'] == 1
    assert not (out / transcoding.UNFINISHED).exists()
    load = dict(type='LoadClip', num_frames=2, short_side=24)
    data = AVDataset('train.csv', [load, dict(type='LogMel'), dict(type='PackAVInputs')], data_root=str(out))
    assert [tuple(data[i]['inputs']['video'].shape) for i in range(3)] == [(1, 3, 2, 24, 32)] * 3


def test_only_what_is_new_or_changed_is_written_again(folder, tmp_path, monkeypatch):
    out = tmp_path / 'new'
    first, _ = run(folder, out)
    note = tmp_path / 'written.txt'
    true_transcode = transcoding.transcode

    def noting(source, *more):
        with note.open('a') as file:
            file.write(f'{Path(source).name}\n')
        return true_transcode(source, *more)

    monkeypatch.setattr(transcoding, 'transcode', noting)
    # What could not be read is tried again.
    assert run(folder, out)[0] == first and note.read_text().split() == ['c.mp4']
    note.unlink()
    os.utime(folder / 'b.mp4', ns=(1, 1))
    (out / 'sub' / 'a.mp4').unlink()
    run(folder, out)
    assert sorted(note.read_text().split()) == ['a.mkv', 'b.mp4', 'c.mp4']


def test_what_a_version_without_records_wrote_is_gone_on_with(folder, tmp_path):
    out = tmp_path / 'new'
    first, _ = run(folder, out)
    for record in out.rglob(RECORD):
        record.unlink()
    for name in ('train.csv', 'test.csv', 'classes.txt', 'prepare_failed.csv'):
        (out / name).unlink()
    assert run(folder, out)[0] == first
    # also where a file has to be written again
    for record in out.rglob(RECORD):
        record.unlink()
    for name in ('train.csv', 'test.csv', 'classes.txt', 'prepare_failed.csv'):
        (out / name).unlink()
    os.utime(folder / 'b.mp4', ns=(1, 1))
    assert run(folder, out)[0]['b.mp4'].error is None
    (out / 'b.mp4').write_bytes(b'mine')
    with pytest.raises(OutputError, match=r"b\.mp4' is there and was changed .*: give another folder, or move"):
        run(folder, out)


def test_a_file_under_its_name_is_whole(folder, tmp_path, monkeypatch):
    def killed(source, target, options):
        Path(target).write_bytes(b'half of it')
        raise KeyboardInterrupt

    monkeypatch.setattr(transcoding, 'transcode', killed)
    out = tmp_path / 'new'
    with pytest.raises(KeyboardInterrupt):
        run(folder, out)
    assert not list(out.glob('*.mp4')) and not list(out.glob('sub/*'))
    monkeypatch.undo()
    assert run(folder, out)[1]['train.csv'] == (3, 0)
    assert not (out / transcoding.UNFINISHED).exists()


def test_a_file_that_kills_its_process_or_hangs_costs_no_other(folder, tmp_path, monkeypatch):
    true_transcode = transcoding.transcode

    def harmful(source, *more):
        if source.endswith('a.mkv'):
            os.kill(os.getpid(), signal.SIGSEGV)
        if source.endswith('c.mp4'):
            time.sleep(60)
        return true_transcode(source, *more)

    monkeypatch.setattr(transcoding, 'transcode', harmful)
    outcomes, counts = run(folder, tmp_path / 'new', time_limit=1.0)
    assert outcomes['sub/a.mkv'].error == 'decoding it kills the process (SIGSEGV)'
    assert outcomes['c.mp4'].error == 'decoding it takes longer than 1 s'
    assert outcomes['b.mp4'].error is None and counts == {'train.csv': (1, 2), 'test.csv': (1, 1)}


def test_a_killed_process_leaves_no_half_file_and_the_next_goes_on(make_clip, tmp_path):
    root, out = tmp_path / 'old', tmp_path / 'new'
    root.mkdir()
    source = make_clip('to_be_killed.mp4', seconds=6.0, fps=25, size=(96, 128))
    names = {f'{k}.mp4': f'{k}.mp4' for k in range(6)}
    for name in names:
        shutil.copy(source, root / name)
    child = multiprocessing.get_context('fork').Process(
        target=transcode_all, args=(root, out, names, TranscodeOptions(preset='veryslow')), kwargs=dict(jobs=1)
    )
    child.start()
    # In the middle of the third file.
    deadline = time.monotonic() + 60
    while not ((out / '1.mp4').exists() and list((out / transcoding.UNFINISHED).iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    child.join()
    whole = sorted(path.name for path in out.glob('*.mp4'))
    assert 2 <= len(whole) < 6
    stamps = {name: (out / name).stat().st_mtime_ns for name in whole[:-1]}
    outcomes = transcode_all(root, out, names, TranscodeOptions(preset='veryslow'), jobs=1)
    assert all(outcome.error is None and probe(str(out / name)).frames == 150 for name, outcome in outcomes.items())
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps


def test_other_options_need_force(folder, tmp_path):
    out = tmp_path / 'new'
    run(folder, out)
    other = TranscodeOptions(short_side=32, preset='ultrafast')
    with pytest.raises(MmavError, match=r'other options \(short_side 24, now 32\)'):
        run(folder, out, options=other)
    run(folder, out, options=other, force=True)
    assert probe(str(out / 'b.mp4')).height == 32


def test_the_old_folder_is_never_written_to(folder):
    with pytest.raises(MmavError, match='need a folder of their own'):
        run(folder, folder / 'sub' / '..')


def test_a_full_disk_stops(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(transcoding.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(MmavError, match='is full; free some space'):
        run(folder, tmp_path / 'new')


def test_names_never_meet():
    assert target_names(['x.avi', 'X.mp4', 'x.mp4', '../y.mkv', '/a/y.mkv', 'x.avi']) == {
        'x.avi': 'x.mp4',
        'X.mp4': 'X.mp4.mp4',
        'x.mp4': 'x.mp4.2.mp4',
        '../y.mkv': 'outside/y.mp4',
        '/a/y.mkv': 'outside/y.mkv.mp4',
    }


def test_totals():
    assert totals(dict(a=Outcome('torn'), b=Outcome(None, 10, 4, 3600.0, 2))) == dict(
        files=2, failed=1, damaged=1, hours=1.0, bytes_before=10, bytes_after=4
    )


def test_the_files_of_a_pair_become_one(folder, tmp_path, clip):
    shutil.copy(clip, folder / 'sound.m4a')
    rows = ['dog,b.mp4,sound.m4a,', 'dog,b.mp4,,', 'cat,c.mp4,sound.m4a,', 'cat,,sound.m4a,8000']
    (folder / 'train.csv').write_text('\n'.join(['label,video,audio,sample_rate', *rows]))
    out = tmp_path / 'new'
    outcomes, counts = run(folder, out)
    assert counts['train.csv'] == (3, 1)
    assert (out / 'train.csv').read_text() == 'label,path\ndog,b.mp4\ndog,b.mp4.mp4\ncat,sound.mp4\n'
    found = [probe(str(out / name)) for name in ('b.mp4', 'b.mp4.mp4', 'sound.mp4')]
    assert [(one.has_video, one.has_audio) for one in found] == [(True, True), (True, False), (False, True)]
    first = outcomes['b.mp4 + sound.m4a']
    assert first.size_before == sum((folder / name).stat().st_size for name in ('b.mp4', 'sound.m4a'))
    again, _ = run(folder, out)
    assert again == outcomes
