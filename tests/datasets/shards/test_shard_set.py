"""Clips in shards give what files give; what is damaged is a broken clip."""

from __future__ import annotations

import os
import pickle
import shutil

import fsspec
import pytest
import torch
from torch.utils.data import DataLoader

from mmav.datasets import AVDataset, ConcatDataset, av_collate
from mmav.datasets.broken_clips import require_files
from mmav.datasets.media.probe import probe
from mmav.datasets.shards.index import INDEX
from mmav.datasets.shards.shard_set import open_shards
from mmav.errors import ConfigError, MediaError, MissingMediaError, MmavError, TooManyBrokenClips
from tests.datasets.shards.conftest import NUMBER, PIPELINE


def batches(dataset, *, workers=2, epochs=2) -> list:
    loader = DataLoader(
        dataset, 4, num_workers=workers, collate_fn=av_collate, persistent_workers=workers > 0,
        sampler=list(reversed(range(len(dataset)))),
    )  # fmt: skip
    found = []
    for epoch in range(epochs):
        for part in getattr(dataset, 'datasets', [dataset]):
            part.set_epoch(epoch)
        found += list(loader)
    return found


def assert_same(one: list, two: list) -> None:
    assert len(one) == len(two) > 0
    for batch, other in zip(one, two, strict=True):
        for key in ('inputs', 'masks'):
            assert batch[key].keys() == other[key].keys()
            assert all(torch.equal(value, other[key][name]) for name, value in batch[key].items())
        for sample, twin in zip(batch['data_samples'], other['data_samples'], strict=True):
            assert (sample.sample_idx, sample.start, sample.end) == (twin.sample_idx, twin.start, twin.end)
            assert torch.equal(sample.gt_label, twin.gt_label)


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the shards, to be damaged."""
    shutil.copytree(packed.out, tmp_path / 'copy')
    return packed._replace(out=tmp_path / 'copy')


def test_batches_are_those_of_files_from_disk_and_from_an_address(packed, counted):
    files = batches(packed.data())
    assert_same(files, batches(packed.data('shards')))
    address, log = counted
    assert_same(files, batches(packed.data(address)))
    reads = [line.split() for line in log.read_text().splitlines()]
    assert len(reads) == 2 * NUMBER and len({read[0] for read in reads}) == 2  # each clip once in an epoch


def test_other_places_of_the_shards(packed):
    files = batches(packed.data(), workers=0, epochs=1)
    source = f'file://{packed.out / "shards"}'
    assert_same(files, batches(packed.data(dict(index='shards', source=source)), workers=0, epochs=1))


def test_wrappers_and_caches_take_them(packed, counted, tmp_path):
    files = batches(packed.data(), workers=0)
    assert_same(files, batches(packed.data('shards', cache=str(tmp_path / 'cache')), workers=0))
    joined = ConcatDataset([packed.data(counted[0]), packed.data('shards')])
    plain = ConcatDataset([packed.data(), packed.data()])
    assert_same(batches(plain, epochs=1), batches(joined, epochs=1))


def test_a_member_is_a_file_to_what_reads_files(packed):
    shards = open_shards('shards', str(packed.out))
    member = pickle.loads(pickle.dumps(shards.member('sub/c.1.mp4')))
    assert str(member).endswith('shards/train-000000.tar:/sub/c.1.mp4')
    assert member.read() == (packed.root / 'sub/c.1.mp4').read_bytes()
    assert member.stamp() == shards.member('sub/c.1.mp4').stamp() != shards.member('0.mp4').stamp()
    assert probe(member).to_dict() == probe(str(packed.root / 'sub/c.1.mp4')).to_dict()
    missing = shards.member('none.mp4')
    assert probe(missing).failure == 'missing'
    with pytest.raises(MissingMediaError, match='shards.index:/none.mp4: the index of the shards has no such clip'):
        missing.read()
    with pytest.raises(OSError, match='no such clip'):
        missing.stamp()


def damage(path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def broken_in(dataset) -> dict[int, str]:
    found = {}
    for k in range(len(dataset)):
        if (error := why(dataset.get_data_info(k)['path'])) is not None:
            found[k] = error
    return found


def why(member) -> str | None:
    try:
        member.read()
    except MediaError as error:
        return str(error)
    return None


def test_a_damaged_byte_breaks_its_clip_and_no_other(copy, caplog):
    data = copy.data('shards')
    place = data.shards.index.place(5)
    damage(copy.out / 'shards/train-000000.tar', place.offset + place.size // 2)
    found = broken_in(data)
    assert list(found) == [5] and 'train-000000.tar:/sub/c.5.mp4: its bytes are not those' in found[5]
    loader = DataLoader(data, 4, num_workers=2, collate_fn=av_collate)
    list(loader)
    assert data.broken_count() == 1
    tested = copy.data('shards', test_mode=True)
    assert 'checksum' in tested[5]['data_samples'].broken and tested[4]['data_samples'].broken is None


def test_a_shard_cut_short_breaks_what_it_lost(copy):
    data = copy.data('shards')
    path = copy.out / 'shards/train-000001.tar'
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = broken_in(data)
    first, last = (data.shards.index.shards[k].first for k in (1, 2))
    assert 0 < len(found) < last - first and set(found) < set(range(first, last)) and last - 1 in found
    assert f'its shard has {len(whole) // 2:,} bytes, not the {len(whole):,}' in found[last - 1]
    require_files(data)


def test_a_missing_shard_breaks_its_clips(copy):
    data = copy.data('shards')
    os.remove(copy.out / 'shards/train-000001.tar')
    found = broken_in(data)
    first, last = (data.shards.index.shards[k].first for k in (1, 2))
    assert list(found) == list(range(first, last)) and 'there is no such shard' in found[first]
    require_files(data)
    few = copy.data('shards', max_broken_share=0.1)
    with pytest.raises(TooManyBrokenClips, match=f'{last - first} of the {NUMBER} clips .* there is no .*train-000001'):
        require_files(few)


def test_the_index_of_other_shards_is_refused(copy, packed, tmp_path):
    data = copy.data('shards')
    for path in (copy.out / 'shards').glob('*.tar'):
        path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(ConfigError, match='is of other shards: .*train-000000.tar has'):
        require_files(data)
    # of the same sizes, each clip says it
    for path in (copy.out / 'shards').glob('*.tar'):
        path.write_bytes(bytes(path.stat().st_size - 512))
    require_files(copy.data('shards'))
    assert len(broken_in(data)) == NUMBER


def test_a_manifest_of_other_clips_is_refused(packed, tmp_path):
    (tmp_path / 'train.csv').write_text('path,label\nx.mp4,a\n')
    data = AVDataset(
        'train.csv', PIPELINE, classes=['a', 'b'], data_root=str(tmp_path), shards=str(packed.out / 'shards')
    )
    with pytest.raises(TooManyBrokenClips, match='give the shards that it was packed in'):
        require_files(data)


@pytest.mark.parametrize(
    ('shards', 'match'),
    [
        ('nowhere', 'no index of shards at'),
        ('counted://nowhere', 'no index of shards at counted://nowhere/shards.index'),
        ('pipe:cat {}', r"a command has no index: give dict\(index=FOLDER, source='pipe:cat {}'\)"),
        (dict(index='shards', source='pipe:cat x'), 'write {} where the name of the shard goes'),
        (dict(index='shards', sorce='x'), "no entry 'sorce', did you mean 'source'"),
        (dict(source='x'), 'give a folder or an address'),
        (dict(index='shards', source=3), 'shards has source=3: give a folder, an address or a command'),
        ('nothing://x', 'nothing:// is no kind of address that fsspec opens'),
        ('s3://bucket/x', 'nstall'),
    ],
)
def test_wrong_places_are_refused_in_a_line(packed, shards, match):
    with pytest.raises(ConfigError, match=match) as caught:
        packed.data(shards)
    assert '\n' not in str(caught.value)


def test_a_network_that_fails_is_tried_again(packed, counted, monkeypatch):
    address, _ = counted
    store = type(fsspec.filesystem('counted'))
    data, real, failures = packed.data(address), store.cat_file, [ConnectionError('reset'), TimeoutError()]

    def cat_file(self, path, **options):
        if failures:
            raise failures.pop()
        return real(self, path, **options)

    monkeypatch.setattr(store, 'cat_file', cat_file)
    monkeypatch.setattr('mmav.datasets.shards.stores.PAUSES', (0, 0))
    member = data.get_data_info(3)['path']
    assert member.read() == (packed.root / 'sub/c.3.mp4').read_bytes() and not failures
    failures += [OSError('gone')] * 3
    with pytest.raises(MediaError, match='its shard cannot be read: gone'):
        member.read()


def test_a_server_without_ranges_is_named(packed, counted, monkeypatch):
    store = type(fsspec.filesystem('counted'))
    real = store.cat_file
    data = packed.data(counted[0])
    monkeypatch.setattr(store, 'cat_file', lambda self, path, **options: real(self, path, start=0))
    with pytest.raises(MediaError, match='the server does not give ranges'):
        data.get_data_info(3)['path'].read()


def test_commands_are_for_training_in_order(packed):
    source = dict(index='shards', source=f'pipe:cat {packed.out}/shards/{{}}')
    with pytest.raises(ConfigError, match='for training only'):
        packed.data(source, test_mode=True)
    with pytest.raises(ConfigError, match='read forward only'):
        packed.data(source)[0]


def test_a_store_that_lists_nothing(packed, counted, monkeypatch):
    data = packed.data(counted[0])
    monkeypatch.setattr(type(fsspec.filesystem('counted')), 'ls', lambda *_, **__: 1 / 0)
    monkeypatch.setattr('mmav.datasets.shards.stores.PAUSES', ())
    require_files(data)


def test_an_index_at_an_address_is_copied_once(packed, counted, torch_home):
    copies = torch_home.parent / 'shards'
    for _ in range(2):
        packed.data(counted[0])
    assert len(list(copies.iterdir())) == 1
    fsspec.filesystem('counted').pipe(f'/bucket/{INDEX}', b'torn')
    with pytest.raises(MmavError, match='no whole index'):
        packed.data(counted[0])


def test_an_index_that_cannot_be_copied_says_where_to(packed, counted, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'file'))
    with pytest.raises(MmavError, match="file/shards/.*', a copy of counted://.*, cannot be written: .*TORCH_HOME"):
        packed.data(counted[0])


def test_clips_in_several_files_are_refused(packed, tmp_path):
    (tmp_path / 'train.csv').write_text('video,audio,label\na.mp4,a.wav,a\n')
    with pytest.raises(ConfigError, match='clips in several files are not in shards'):
        AVDataset('train.csv', PIPELINE, classes=['a'], data_root=str(tmp_path), shards=str(packed.out / 'shards'))
