"""Damage of shards is found and named."""

from __future__ import annotations

import os

from mmav.datasets.shards.shard_set import open_shards
from mmav.preparation.checking import read_rows
from mmav.preparation.packing import pack
from mmav.preparation.shard_check import verify


def test_verifying_names_what_is_damaged(tmp_path):
    out = tmp_path
    for k in range(12):
        (out / f'{k}.mp4').write_bytes(bytes([k]) * 2000)
    (out / 'train.csv').write_text('path,label\n' + ''.join(f'{k}.mp4,a\n' for k in range(12)))
    pack(out, out, [read_rows(str(out / 'train.csv'))], size=16_000, jobs=1)
    shards = open_shards('shards', str(out))
    assert verify(shards.index, shards.store, jobs=1) == []
    place = shards.index.place(1)
    path = out / 'shards/train-000000.tar'
    data = bytearray(path.read_bytes())
    data[place.offset] ^= 1
    path.write_bytes(data)
    cut = out / 'shards/train-000002.tar'
    cut.write_bytes(cut.read_bytes()[:-1024])
    os.remove(out / 'shards/train-000001.tar')
    found = verify(shards.index, shards.store, jobs=1)
    expected = [('train-000000.tar', 'not those that were packed'), ('train-000001.tar', 'no such file')]
    for (what, how), (shard, why) in zip(found, [*expected, ('train-000002.tar', 'ends after')], strict=True):
        assert shard in what and why in how
    assert what.endswith('.tar') and found[0][0].endswith(f':/{shards.index.name(1)}')
