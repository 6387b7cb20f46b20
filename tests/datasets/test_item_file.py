"""Items come back as they were, from a file that several processes append to."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from mmav.datasets.item_file import ItemFile, Unstorable, pack_item, unpack_item

FRAMES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def restored(values):
    return unpack_item(np.frombuffer(bytearray(pack_item(values)), np.uint8))


def test_values_come_back_with_their_types():
    values = dict(
        views=[FRAMES, FRAMES[:, 1:3], FRAMES],
        mask=dict(video=True, audio=np.False_),
        times=(0.1, None, -0.0, float('inf')),
        text='ä',
        number=2**70,
        scalar=np.float32(0.1),
        tensor=torch.arange(3, dtype=torch.int16),
        empty=np.zeros((0, 3), np.float64),
        point=np.array(2.5),
        big=np.arange(3, dtype='>i4'),
    )
    found = restored(values)
    assert found.keys() == values.keys() and found['times'] == values['times'] and str(found['times'][2]) == '-0.0'
    assert found['text'] == 'ä' and found['number'] == 2**70
    assert found['mask']['video'] is True and type(found['mask']['audio']) is np.bool_ and not found['mask']['audio']
    assert type(found['scalar']) is np.float32 and found['scalar'] == np.float32(0.1)
    assert found['tensor'].dtype == torch.int16 and found['tensor'].tolist() == [0, 1, 2]
    pairs = [(found[name], values[name]) for name in ('empty', 'point', 'big')]
    for one, other in [*pairs, *zip(found['views'], values['views'], strict=True)]:
        assert one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
    found['views'][0][:] = 0  # writable, and shared as it was
    assert (found['views'][2] == 0).all() and found['views'][1].any()
    assert len(pack_item(dict(views=[FRAMES] * 9))) - len(pack_item(dict(views=[FRAMES]))) <= 9 * 32 + 64


@pytest.mark.parametrize(
    ('value', 'kind'),
    [({1}, 'set'), ({1: 2}, 'dict'), (np.array([None]), 'ndarray'), (np.zeros(2, 'i4,f4'), 'ndarray'), (b'', 'bytes')],
)
def test_other_kinds_are_named(value, kind):
    with pytest.raises(Unstorable, match=f"'a' is or holds a {kind}"):
        pack_item(dict(a=[value]))


def test_items_by_place_and_stamp(tmp_path):
    path = str(tmp_path / 'a.items')
    file = ItemFile(path, 3)
    assert file.get(1, 7) is None and file.sizes().tolist() == [0, 0, 0]
    file.put(1, 7, b'seven')
    file.put(0, 2, b'two')
    for each in (file, ItemFile(path, 3), pickle.loads(pickle.dumps(file))):
        assert each.get(1, 7).tobytes() == b'seven' and each.get(0, 2).tobytes() == b'two'
        assert each.get(1, 8) is None and each.get(2, 0) is None
    file.put(1, 8, b'eight')
    assert file.get(1, 7) is None and file.get(1, 8).tobytes() == b'eight' and file.sizes().tolist() == [3, 5, 0]


def test_damaged_items_are_absent(tmp_path):
    file = ItemFile(str(tmp_path / 'a.items'), 2)
    file.put(0, 1, b'first')
    file.put(1, 1, b'second')
    (tmp_path / 'a.items').write_bytes(b'firstsecon')
    assert file.get(0, 1).tobytes() == b'first' and file.get(1, 1) is None
    (tmp_path / 'a.items').write_bytes(b'fXrstsecond')
    assert file.get(0, 1) is None and file.get(1, 1).tobytes() == b'second'


def test_forks_append_without_overwriting(tmp_path):
    file = ItemFile(str(tmp_path / 'a.items'), 400)
    file.put(0, 1, b'parent')
    children = []
    for child in range(4):
        if (pid := os.fork()) == 0:
            for place in range(1 + child, 400, 4):
                file.put(place, 1, bytes([child]) * place)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert file.get(0, 1).tobytes() == b'parent'
    assert all(file.get(place, 1).tobytes() == bytes([(place - 1) % 4]) * place for place in range(1, 400))


def test_no_room(tmp_path, monkeypatch):
    file = ItemFile(str(tmp_path / 'a.items'), 1)
    monkeypatch.setattr(os, 'write', lambda handle, data: len(data) - 1)
    with pytest.raises(OSError, match='No space left'):
        file.put(0, 1, b'item')
    assert file.get(0, 1) is None
