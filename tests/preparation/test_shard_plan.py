"""What goes into which shard, and what cannot."""

from __future__ import annotations

import pytest

from mmav.errors import ConfigError, MmavError
from mmav.preparation.checking import read_rows
from mmav.preparation.shard_plan import plan_shards, shard_size


def plan(root, lists, *, size=10_000, seed=None):
    for name, text in lists.items():
        (root / name).write_text(text)
    failed = []
    return list(plan_shards(root, [read_rows(str(root / name)) for name in lists], size, seed, failed)), failed


@pytest.fixture
def root(tmp_path):
    for k in range(9):
        (tmp_path / f'{k}.mp4').write_bytes(bytes(1500 * (k + 1)))
    return tmp_path


def test_shards_are_filled_in_order_and_a_file_is_packed_once(root):
    lists = {
        'train.csv': 'path,label\n' + ''.join(f'{k}.mp4,a\n' for k in (0, 1, 0, 8, 2, 3)),
        'val.csv': 'path,label\n2.mp4,b\nno.mp4,b\n4.mp4,b\n',
    }
    shards, failed = plan(root, lists)
    names = {shard.name: [source.path for source in shard.sources] for shard in shards}
    assert names == {
        'train-000000.tar': ['0.mp4', '1.mp4'],
        'train-000001.tar': ['8.mp4'],  # larger than a shard
        'train-000002.tar': ['2.mp4'],
        'train-000003.tar': ['3.mp4'],
        'val-000000.tar': ['4.mp4'],
    }
    assert failed == [('no.mp4', 'No such file or directory')]
    assert b'"rows": [{"label": "a"}, {"label": "a"}]' in shards[0].sources[0].note
    again, _ = plan(root, lists)
    assert [shard.digest() for shard in again] == [shard.digest() for shard in shards]
    shuffled, _ = plan(root, lists, seed=1)
    orders = [[source.path for shard in each for source in shard.sources] for each in (shards, shuffled)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_clips_that_are_not_single_files(root):
    (root / 'sub').mkdir()
    with pytest.raises(MmavError, match=r'0.mp4 \+ 3.wav is in several files.*mmav prepare'):
        plan(root, {'train.csv': 'video,audio,label\n0.mp4,3.wav,dog\n'})
    assert plan(root, {'train.csv': 'path,label\nsub,dog\n'}) == ([], [('sub', 'not a file')])


def test_sizes():
    assert shard_size('1.5GB') == 1_500_000_000
    with pytest.raises(ConfigError, match="'512' is no size of shards: give a number and one of GB"):
        shard_size('512')
