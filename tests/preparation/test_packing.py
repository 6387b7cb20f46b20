"""Datasets packed into shards: the same bytes whatever happens on the way, read by webdataset, verified."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal

import pytest
import webdataset

from mmav.datasets.shards.shard_set import open_shards
from mmav.errors import ConfigError, MmavError, OutputError
from mmav.preparation import packing, shard_plan
from mmav.preparation.checking import read_rows
from mmav.preparation.packing import FAILED, pack
from mmav.preparation.shard_check import verify

NUMBER = 30


@pytest.fixture
def root(tmp_path):
    """A dataset whose files are packed without being looked into; a row is a second span, one file is missing."""
    folder = tmp_path / 'root'
    (folder / 'sub').mkdir(parents=True)
    names = [f'sub/{k}.x.mp4' if k % 3 else f'{k}.wav' for k in range(NUMBER)]
    for k, name in enumerate(names):
        (folder / name).write_bytes(bytes([k]) * (1000 + 211 * k))
    lines = [f'{name},dog|cät,,' for name in names[:-4]]
    (folder / 'train.csv').write_text('\n'.join(['path,label,start,end', *lines, f'{names[0]},bird,1,2.5', '']))
    (folder / 'val.csv').write_text(
        '\n'.join(['path,label', *(f'{name},dog' for name in names[-6:]), 'no.mp4,dog', ''])
    )
    (folder / 'classes.txt').write_text('bird\ncät\ndog\n')
    return folder


def run(root, out, *, size=20000, jobs=1, **options):
    manifests = [read_rows(str(root / name)) for name in ('train.csv', 'val.csv')]
    return pack(root, out, manifests, size=size, jobs=jobs, **options)


def contents(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / 'shards').glob('[!.]*'))}


def test_a_dataset_of_its_own_that_webdataset_reads(root, tmp_path):
    out = tmp_path / 'out'
    packed = run(root, out)
    assert (packed.clips, packed.failed) == (NUMBER, [('no.mp4', 'No such file or directory')])
    assert (out / FAILED).read_text() == 'path,error\nno.mp4,No such file or directory\n'
    for name in ('train.csv', 'val.csv', 'classes.txt'):
        assert (out / name).read_bytes() == (root / name).read_bytes()
    shards = sorted(map(str, out.glob('shards/*.tar')))
    assert len(shards) == packed.shards > 4 and all(os.path.getsize(path) <= 20000 for path in shards)
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert len(samples) == NUMBER
    notes = {}
    for sample in samples:
        note = json.loads(sample['json'])
        (field,) = (name for name in sample if name in ('mp4', 'wav'))
        assert sample[field] == (root / note['path']).read_bytes()
        notes[note['path']] = note
    assert notes['sub/1.x.mp4'] == dict(path='sub/1.x.mp4', label='dog|cät', start='', end='')
    assert notes['0.wav']['rows'][1] == dict(label='bird', start='1', end='2.5')
    index = open_shards('shards', str(out))
    for name in notes:
        assert index.member(name).read() == (root / name).read_bytes()
    assert verify(index.index, index.store, jobs=1) == []


def test_the_same_again_is_nothing_to_do_and_a_changed_file_one_shard(root, tmp_path):
    out = tmp_path / 'out'
    total = run(root, out).shards
    before = contents(out)
    assert run(root, out).written == 0 and contents(out) == before
    (root / '3.wav').write_bytes(b'y' * (1000 + 211 * 3))
    assert run(root, out).written == 1 and total > 2
    assert sum(before[name] != data for name, data in contents(out).items()) == 2  # and the index
    # fewer clips: shards that nothing needs any more go
    (root / 'val.csv').write_text('path,label\n0.wav,dog\n')
    run(root, out)
    assert not list(out.glob('shards/val-*.tar')) and contents(out).keys() < before.keys()


def test_shuffling_is_by_the_seed_alone(root, tmp_path):
    runs = [('a', 1, 1), ('b', 1, 2), ('c', 2, 1), ('d', None, 1)]
    found = []
    for name, seed, jobs in runs:
        run(root, tmp_path / name, seed=seed, jobs=jobs)
        found.append(contents(tmp_path / name))
    assert found[0] == found[1] and len({each['train-000000.tar'] for each in found}) == 3


def dying(root, out, moment: int) -> None:
    """Packs, and is killed before the n-th time that it reads a file, renames one, or writes to the journal."""
    left = moment

    def counted(work):
        def call(*args, **options):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*args, **options)

        return call

    packing._bytes_of, os.replace = counted(packing._bytes_of), counted(os.replace)
    packing.Journal.add = counted(packing.Journal.add)
    # in this process, to be killed with what it writes
    packing.run_parallel = lambda work, items, **_: enumerate(map(work, items))
    run(root, out)


def test_killed_at_any_moment_it_ends_the_same(root, tmp_path):
    run(root, tmp_path / 'whole')
    out, kills = tmp_path / 'out', 0
    while True:
        process = multiprocessing.get_context('fork').Process(target=dying, args=(root, out, 3 + 2 * kills))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 5
    assert contents(out) == contents(tmp_path / 'whole')
    assert not list(out.glob('shards/.*.tmp'))


def test_other_options_and_what_is_not_ours_are_refused(root, tmp_path):
    out = tmp_path / 'out'
    run(root, out)
    with pytest.raises(MmavError, match='packed with other options .size 20000, now 9000.*--force'):
        run(root, out, size=9000)
    run(root, out, size=9000, force=True)
    assert verify(open_shards('shards', str(out)).index, open_shards('shards', str(out)).store, jobs=1) == []
    (out / 'shards/train-000001.tar').write_bytes(b'mine')
    with pytest.raises(OutputError, match='train-000001.tar.* was changed since it was written'):
        run(root, out, size=9000)
    with pytest.raises(ConfigError, match='shards of 10 bytes are too small'):
        run(root, out, size=10)
    with pytest.raises(ConfigError, match='--shuffle -1: a seed is a whole number, 0 or more'):
        run(root, out, seed=-1)


def test_edited_lists_stay_while_the_dataset_is_the_same(root, tmp_path):
    out = tmp_path / 'out'
    run(root, out)
    for name in ('train.csv', 'classes.txt'):
        (out / name).write_text((out / name).read_text().replace('dog', 'hound'))
    again = run(root, out)
    assert (again.written, again.edited) == (0, ['train.csv', 'classes.txt'])
    assert 'hound' in (out / 'train.csv').read_text() and 'hound' in (out / 'classes.txt').read_text()
    (root / 'train.csv').write_text((root / 'train.csv').read_text() + '1.x.mp4,bird,,\n')
    with pytest.raises(OutputError, match='train.csv.* was changed since it was written'):
        run(root, out)


def test_a_full_disk_is_told_with_the_shard(root, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(packing.TarWriter, '_write', full)
        with pytest.raises(MmavError, match='train-000000.tar.*: No space left.*goes on'):
            run(root, tmp_path / 'out')
    assert run(root, tmp_path / 'out').clips == NUMBER


def test_two_runs_at_a_time_are_refused(root, tmp_path):
    out = tmp_path / 'out'
    (out / 'shards').mkdir(parents=True)
    with packing._alone(out / 'shards'), pytest.raises(MmavError, match='another run packs to .*shards'):
        run(root, out)
    assert run(root, out).clips == NUMBER


def test_in_the_folder_itself(root):
    run(root, root)
    assert open_shards('shards', str(root)).member('0.wav').read() == (root / '0.wav').read_bytes()


def test_nothing_that_can_be_packed(root, tmp_path):
    (root / 'train.csv').write_text('path,label\nsub,dog\n')
    (root / 'val.csv').write_text('path,label\nno.mp4,dog\n')
    with pytest.raises(MmavError, match='none of the 2 files can be packed; the first is .*sub: not a file'):
        run(root, tmp_path / 'other')


def test_a_file_that_changes_on_the_way_stops_it(root, tmp_path, monkeypatch):
    status = shard_plan._status
    monkeypatch.setattr(
        shard_plan, '_status', lambda path: (status(path)[0] + 1, 0) if '3.wav' in path else status(path)
    )
    with pytest.raises(MmavError, match='3.wav has changed while it was packed: give the same command again'):
        run(root, tmp_path / 'out')
