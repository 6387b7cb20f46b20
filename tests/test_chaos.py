"""A run that is killed twenty times, some of them while it saves, ends as one that never was."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import torch

from mmav.checkpoints import find_resume, is_whole
from tests import toys

KILLS = 20
# 6 epochs of 12 batches, a resume point every 5.
CONFIG = """
custom_imports = dict(imports=['tests.toys', 'tests.test_chaos'])
model = dict(type='WideToy')
train_dataloader['dataset']['length'] = 48
train_cfg = dict(type='AVTrainLoop', max_epochs=6)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='top1', rule='greater'), resume_point=dict(interval=5))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=6, convert_to_iter_based=True)]
"""


@toys.MODELS.register_module(force=True)
class WideToy(toys.ToyModel):
    """The toy with many more weights, so that saving takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = torch.nn.Parameter(torch.ones(200_000))

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor'):
        out = super().forward(inputs, data_samples, mode)
        if mode == 'loss':
            time.sleep(0.005)
            out['loss_ballast'] = self.ballast.square().mean()
        return out


def train(config: Path, work_dir: Path) -> None:
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        os._exit(toys.run_tool('train.py', config, '--work-dir', work_dir, '--resume'))


def start(config: Path, work_dir: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context('fork').Process(target=train, args=(config, work_dir))
    process.start()
    return process


def half_written(work_dir: Path, pid: int | None = None) -> bool:
    """Whether a process, or any, has begun a file that it has not ended."""
    return any(work_dir.glob(f'.*.{pid or "*"}.tmp'))


def wait_for(process: multiprocessing.Process, condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < end and not condition():
        time.sleep(0.0005)


def test_killed_again_and_again(tmp_path):
    toys.import_all()
    config = toys.write_config(tmp_path, CONFIG)
    whole, work_dir = tmp_path / 'whole', tmp_path / 'chaos'
    began = time.monotonic()
    process = start(config, whole)
    process.join()
    assert process.exitcode == 0
    usual = time.monotonic() - began
    rng = np.random.default_rng(0)
    kills, while_saving, reached = 0, 0, -1
    while kills < KILLS:
        # Each goes a little further than the last, so that 20 fit into the run.
        process = start(config, work_dir)
        if kills % 2:
            wait_for(process, lambda pid=process.pid: half_written(work_dir, pid), 60)
        else:
            time.sleep(usual * rng.uniform(0.0, 0.5))
        if not process.is_alive():
            # It was faster than the kill: begin anew, the kills so far count.
            process.join()
            assert process.exitcode == 0
            for path in work_dir.glob('*'):
                if path.is_file():
                    path.unlink()
            reached = -1
            continue
        process.kill()
        process.join()
        kills += 1
        while_saving += half_written(work_dir, process.pid)
        picked = find_resume(work_dir)
        if picked is not None:
            assert is_whole(picked)
            step = torch.load(picked, weights_only=True)['meta']['iter']
            assert step >= reached
            reached = step
    assert while_saving >= 3
    process = start(config, work_dir)
    process.join()
    assert process.exitcode == 0
    one, two = (torch.load(run / 'epoch_6.pth', weights_only=True) for run in (whole, work_dir))
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name]), name
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)
    assert not half_written(work_dir)
