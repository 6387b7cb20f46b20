"""Training on shards: as on files, bit for bit, and killed again and again it ends as one that never was.

The suite kills three times; MMAV_TEST_KILLS=20 as often as tests/test_chaos.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from mmav.checkpoints import find_resume, is_whole
from mmav.preparation.checking import read_rows
from mmav.preparation.packing import pack
from tests import toys
from tests.test_chaos import half_written, start, wait_for

KILLS = int(os.environ.get('MMAV_TEST_KILLS', '3'))
CONFIG = """
custom_imports = dict(imports=['tests.toys', 'tests.test_shard_training'])
model = dict(type='ClipToy')
pipeline = [
    dict(type='LoadClip', num_frames=2, short_side=24),
    dict(type='RandomResizedCrop', size=16),
    dict(type='RandomFlip'),
    dict(type='LogMel', target_frames=16),
    dict(type='PackAVInputs'),
]
data = dict(type='AVDataset', data_root={root!r}, ann_file='train.csv', pipeline=pipeline, shards={shards!r})
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='av_collate'),
    dataset=data,
    sampler={sampler},
)
val_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type='av_collate'),
    dataset=dict(data, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
train_cfg = dict(type='AVTrainLoop', max_epochs={epochs}, val_interval=2)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), resume_point=dict(interval=2))
"""
DEFAULT, FORWARD = "dict(type='DefaultSampler', shuffle=True)", "dict(type='ShardSampler', buffer=8)"


@toys.MODELS.register_module(force=True)
class ClipToy(BaseModel):
    """A linear layer on the means of a clip's frames and sound, behind dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16 + 128, 3)

    def forward(self, inputs: dict, masks: dict, data_samples: list, mode: str = 'tensor'):
        if mode == 'loss':
            time.sleep(0.01)
        video = inputs['video'].float().mean((1, 2, 3, 4)) / 255
        audio = inputs['audio'].float().mean((1, 2, 4)) / 10
        logits = self.fc(nn.functional.dropout(torch.cat([video, audio], 1), 0.2, self.training))
        if mode == 'loss':
            labels = torch.stack([sample.gt_label for sample in data_samples])
            return dict(loss=nn.functional.cross_entropy(logits, labels))
        return [sample.set_pred_score(score) for sample, score in zip(data_samples, logits.softmax(-1), strict=True)]


@pytest.fixture(scope='module')
def root(make_clip, tmp_path_factory) -> Path:
    """38 clips as files and in shards; one of them is broken."""
    folder = tmp_path_factory.mktemp('trained')
    kinds = [make_clip(f'kind{k}.mp4', seconds=0.4 + 0.1 * k, size=(32, 48), numbered=True) for k in range(4)]
    for k in range(38):
        (folder / f'{k}.mp4').write_bytes(b'torn' if k == 9 else kinds[k % 4].read_bytes())
    (folder / 'train.csv').write_text('path,label\n' + ''.join(f'{k}.mp4,{"abc"[k % 3]}\n' for k in range(38)))
    (folder / 'classes.txt').write_text('a\nb\nc\n')
    pack(folder, folder, [read_rows(str(folder / 'train.csv'))], size=70_000, seed=0, jobs=1)
    assert len(list(folder.glob('shards/*.tar'))) >= 3
    toys.import_all()
    return folder


def config(folder: Path, root: Path, *, shards: object = 'shards', sampler: str = DEFAULT, epochs: int = 2) -> Path:
    folder.mkdir()
    text = CONFIG.format(root=str(root), shards=shards, sampler=sampler, epochs=epochs)
    return toys.write_config(folder, text)


def ran(path: Path, work_dir: Path) -> dict:
    process = start(path, work_dir)
    process.join()
    assert process.exitcode == 0
    (last,) = sorted(work_dir.glob('epoch_*.pth'))[-1:]
    return torch.load(last, weights_only=True)


def assert_same(one: dict, two: dict) -> None:
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name]), name
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)


def test_weights_are_those_of_files(root, tmp_path):
    files, shards = (ran(config(tmp_path / name, root, shards=place), tmp_path / name / 'run')
                     for name, place in (('files', None), ('shards', 'shards')))  # fmt: skip
    assert_same(files, shards)


def test_killed_again_and_again(root, tmp_path):
    path, rng = config(tmp_path / 'shards', root, sampler=FORWARD, epochs=4), np.random.default_rng(0)
    began = time.monotonic()
    whole = ran(path, tmp_path / 'whole')
    usual, work_dir = time.monotonic() - began, tmp_path / 'chaos'
    kills, reached = 0, -1
    while kills < KILLS:
        process = start(path, work_dir)
        if kills % 2:
            wait_for(process, lambda pid=process.pid: half_written(work_dir, pid), 60)
        else:
            wait_for(process, lambda: False, usual * rng.uniform(0.2, 0.7))
        if not process.is_alive():
            # It was faster than the kill: begin anew, the kills so far count.
            process.join()
            assert process.exitcode == 0
            for file in work_dir.glob('*.*'):
                file.unlink()
            (work_dir / 'last_checkpoint').unlink(missing_ok=True)
            reached = -1
            continue
        process.kill()
        process.join()
        kills += 1
        picked = find_resume(work_dir)
        if picked is not None:
            assert is_whole(picked)
            step = torch.load(picked, weights_only=True)['meta']['iter']
            assert step >= reached
            reached = step
    assert_same(whole, ran(path, work_dir))


def test_in_mid_epoch_another_order_is_refused(root, tmp_path, capsys):
    path = config(tmp_path / 'shards', root, sampler=FORWARD, epochs=1)
    assert toys.run_tool('train.py', path, '--work-dir', tmp_path / 'run') == 0
    point = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)
    order = dict(shard_workers=2, batch_size=4, world_size=1, buffer=8)
    point['meta'] |= dict(epoch=0, iter=3, batches_done=3, clips_per_batch=4, order=order)
    torch.save(point, tmp_path / 'point.pth')
    arguments = ['--resume', tmp_path / 'point.pth', '--work-dir', tmp_path / 'more', '--cfg-options']
    workers = 'train_dataloader.num_workers=1'
    capsys.readouterr()
    assert toys.run_tool('train.py', path, *arguments, workers) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert 'shard_workers=2' in line and 'shard_workers=1' in line and 'sampler.num_workers=N' in line
    assert toys.run_tool('train.py', path, *arguments, workers, 'train_dataloader.sampler.num_workers=2') == 0
