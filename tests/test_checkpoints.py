import os
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch import nn

from mmav.checkpoints import (
    find_resume,
    is_whole,
    load_checkpoint_file,
    restore_history,
    to_plain,
)
from mmav.errors import CheckpointError


def whole(path: Path, **extra) -> Path:
    torch.save(dict(meta={}, state_dict={'w': torch.ones(1000)}, optimizer={}, message_hub={}, **extra), path)
    return path


def test_plain_values_load_with_nothing_allowed(tmp_path):
    history = HistoryBuffer()
    history.update(1.5)
    history.update(2.5, 2)
    state = nn.Linear(2, 2).state_dict()
    content = dict(
        state_dict=state,
        message_hub=dict(log_scalars=OrderedDict(loss=history), score=np.float64(0.5), step=np.int64(3)),
        meta=ConfigDict(classes=('a', 'b'), path=tmp_path, table=np.arange(3), kinds={1}, odd=object),
    )
    torch.save(to_plain(content), tmp_path / 'a.pth')
    # neither numpy nor mmengine, let alone getattr, is named in the file
    assert not torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')
    assert type(loaded['message_hub']['score']) is float and loaded['message_hub']['step'] == 3
    assert loaded['meta']['classes'] == ('a', 'b') and loaded['meta']['table'].tolist() == [0, 1, 2]
    assert loaded['state_dict']._metadata == state._metadata
    restore_history(loaded['message_hub'])
    restored = loaded['message_hub']['log_scalars']['loss']
    assert isinstance(restored, HistoryBuffer)
    assert [part.tolist() for part in restored.data] == [[1.5, 2.5], [1, 2]]
    assert restored.mean() == history.mean()


class Evil:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'not a checkpoint, or is damaged'),
        (b'not a checkpoint at all', 'not a checkpoint, or is damaged'),
        (Evil(), r'could run code \(posix\.system\) and is refused.*convert it'),
        ([1, 2], 'holds a list'),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / 'a.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint_file(path)


def test_what_counts_is_in_the_file_and_not_its_name(tmp_path):
    weights = dict(a=torch.arange(3.0))
    save_file(weights, tmp_path / 'a.pth')
    torch.save(weights, tmp_path / 'b.safetensors')
    for name in ('a.pth', 'b.safetensors'):
        assert torch.equal(load_checkpoint_file(tmp_path / name)['a'], weights['a'])
    (tmp_path / 'c.pth').write_bytes(b'version https://git-lfs.github.com/spec/v1')
    with pytest.raises(CheckpointError, match=r'damaged \(a Git LFS pointer to the file\); give another'):
        load_checkpoint_file(tmp_path / 'c.pth')


def test_safetensors(tmp_path):
    weights = {'fc.weight': torch.randn(2, 3), 'fc.bias': torch.arange(2.0)}
    save_file(weights, tmp_path / 'model.safetensors')
    loaded = load_checkpoint_file(tmp_path / 'model.safetensors', torch.device('cpu'))
    torch.testing.assert_close(loaded, weights, rtol=0, atol=0)
    for content in (b'', b'no tensors', (tmp_path / 'model.safetensors').read_bytes()[:-4]):
        (tmp_path / 'bad.safetensors').write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.safetensors' is not a checkpoint, or is damaged"):
            load_checkpoint_file(tmp_path / 'bad.safetensors')


def test_a_torn_file_is_refused_and_not_whole(tmp_path):
    path = whole(tmp_path / 'epoch_1.pth')
    assert is_whole(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert not is_whole(path)
    with pytest.raises(CheckpointError, match='damaged'):
        load_checkpoint_file(str(path))


def test_a_flipped_bit_is_not_whole(tmp_path):
    path = whole(tmp_path / 'epoch_1.pth')
    content = bytearray(path.read_bytes())
    weights = content.find(np.ones(8, dtype=np.float32).tobytes())
    content[weights + 2] ^= 1
    path.write_bytes(content)
    assert not is_whole(path)


def test_missing_file_and_unknown_scheme():
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nowhere\.pth'"):
        load_checkpoint_file('nowhere.pth')
    for address in ('torchvision://resnet50', 'pavi://a', 's3://a/b.pth', 'open-mmlab://a'):
        with pytest.raises(CheckpointError, match='download the file'):
            load_checkpoint_file(address)


def test_find_resume(tmp_path):
    assert find_resume(tmp_path) is None
    for step in (9, 10, 50):
        whole(tmp_path / f'epoch_{step}.pth')
    whole(tmp_path / 'best_top1_epoch_99.pth')  # weights only in real life, never resumed from
    now = time.time()
    for step, age in ((9, 30), (10, 20), (50, 90)):  # 50 is of an earlier, longer run
        os.utime(tmp_path / f'epoch_{step}.pth', (now - age, now - age))
    assert find_resume(tmp_path) == str(tmp_path / 'epoch_10.pth')
    # the record of a copied work dir, whose files have lost their times: the name counts
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_9.pth')
    os.utime(tmp_path / 'epoch_10.pth', (now - 40, now - 40))
    assert find_resume(tmp_path) == str(tmp_path / 'epoch_9.pth')
    # killed after the checkpoint and before the record
    os.utime(tmp_path / 'epoch_10.pth', (now, now))
    assert find_resume(tmp_path) == str(tmp_path / 'epoch_10.pth')
    # the newest is torn
    (tmp_path / 'epoch_10.pth').write_bytes(b'PK')
    assert find_resume(tmp_path) == str(tmp_path / 'epoch_9.pth')
