"""The flagship's launch as its config writes it, with 8 processes on a CPU and a model made small by overrides.

8 new processes take 40 s to import torch on two cores. So the launcher's call of torchrun is written down, and what
torchrun would start are forks of this process with the variables that it sets.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from mmav.evaluation.predictions import load_predictions
from tests.processes import run_tools
from tests.toys import ROOT, run_tool, tool_environment

CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'
# neither number divides by 8 processes of 2 clips
TRAIN_CLIPS, TEST_CLIPS = 37, 21
LAUNCHED = re.compile(r'-m torch\.distributed\.run --nnodes 1 --nproc_per_node (\d+) --standalone tools/(\w+\.py) ')
ARCH = dict(_delete_=True, embed_dims=8, num_layers=3, num_heads=1, stage_blocks='[1,2]')


def small() -> list[str]:
    """The overrides: from scratch, 4 frames of 32x32, 32 frames of sound, 3 blocks of width 8, 2 fusion blocks."""
    options: dict[str, object] = {
        'model.pretrained': False,
        'model.backbones.video.input_size': '(4,32,32)',
        'model.backbones.audio.input_size': '(128,32)',
        'model.backbones.audio.q_strides': '[[2,2],[1,2]]',
        'model.neck.embed_dims': 32,
        'model.neck.num_heads': 2,
        'model.neck.num_blocks': 2,
        'train_cfg.max_epochs': 2,
        'train_dataloader.batch_size': 2,
        'val_dataloader.batch_size': 2,
        'test_dataloader.batch_size': 2,
    }
    options |= {
        f'model.backbones.{name}.arch.{key}': value for name in ('video', 'audio') for key, value in ARCH.items()
    }
    # places of the log-mel spectrogram in the pipelines
    for split, place in dict(train=5, val=2, test=2).items():
        pipeline = f'{split}_dataloader.dataset.pipeline'
        options |= {
            f'{split}_dataloader.num_workers': 0,
            f'{pipeline}.0.num_frames': 4,
            f'{pipeline}.0.short_side': 32,
            f'{pipeline}.1.size': 32,
            f'{pipeline}.{place}.target_frames': 32,
        }
    return ['--cfg-options', *(f'{name}={value}' for name, value in options.items())]


@pytest.fixture(scope='module')
def data(make_clip, clip_dir, tmp_path_factory) -> Path:
    """Lists of clips, which share four files and differ in their spans."""
    folder = tmp_path_factory.mktemp('flagship')
    (folder / 'classes.txt').write_text('\n'.join(f'class {number}' for number in range(309)))
    files = [make_clip(f'flagship{i}.mp4', events=(0.1 + 0.4 * i, 1.0)) for i in range(4)]
    for name, length in dict(train=TRAIN_CLIPS, test=TEST_CLIPS).items():
        rows = [
            f'{os.path.relpath(files[i % 4], folder)},class {i % 3},{0.03 * i:.2f},{0.03 * i + 0.5:.2f}'
            for i in range(length)
        ]
        (folder / f'{name}.csv').write_text('\n'.join(['path,label,start,end', *rows]))
    return folder


def launched(command: str, folder: Path) -> tuple[int, list[str]]:
    """Runs a launcher up to its call of torchrun; the number of processes, and what each of them is to run."""
    recorder = folder / 'python'
    recorder.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done > "$RECORD"\n')
    recorder.chmod(0o755)
    env = tool_environment(PYTHON=str(recorder), RECORD=str(folder / 'call'))
    for name in ('PORT', 'NNODES'):
        env.pop(name, None)
    subprocess.run(shlex.split(command), cwd=ROOT, env=env, check=True)
    words = (folder / 'call').read_text().splitlines()
    found = LAUNCHED.match(' '.join(words))
    assert found, words
    return int(found[1]), [found[2], *words[words.index(f'tools/{found[2]}') + 1 :]]


def test_the_flagship_with_8_processes(data, tmp_path):
    docstring = ast.get_docstring(ast.parse(CONFIG.read_text()))
    train, test = re.findall(r'^\w+: (tools/dist_\w+\.sh .*)$', docstring, flags=re.MULTILINE)
    assert train == 'tools/dist_train.sh configs/mmt/mmt_k4_l4_vggsound.py 8'
    work = tmp_path / 'w'
    test = test.replace('work_dirs/mmt_k4_l4_vggsound/epoch_50.pth', str(work / 'epoch_2.pth'))
    commands = []
    for command, place in ((train, work), (test, work / 'test')):
        more = ['--data-root', data, '--work-dir', place]
        more += ['--out', tmp_path / '8.json', '--dump', tmp_path / '8.pkl'] if command is test else []
        processes, tool = launched(shlex.join([*shlex.split(command), *map(str, more), *small()]), tmp_path)
        assert processes == 8
        commands.append(tool)
    run_tools(8, ROOT, *commands)

    assert sorted(path.name for path in work.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    assert (work / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    (log,) = work.glob('*/*.log')
    text = log.read_text()
    assert 'Numbers: float32, as there is no GPU' in text or torch.cuda.is_available()
    # 37 clips, of each process 5, in batches of 2 and without the rest: 2 steps an epoch; 21 clips are 2 batches each
    assert '[2][2/2]' in text and '[2/3]' not in text and 'Epoch(val) [2][2/2]' in text
    first, last = (torch.load(work / f'epoch_{i}.pth', weights_only=True)['state_dict'] for i in (1, 2))
    assert all(value.isfinite().all() for value in last.values())
    assert max((last[name] - value).abs().max() for name, value in first.items()) > 1e-5

    alone = ['--data-root', data, '--work-dir', tmp_path / 'one', '--out', tmp_path / '1.json']
    assert run_tool('test.py', CONFIG, work / 'epoch_2.pth', *alone, '--dump', tmp_path / '1.pkl', *small()) == 0
    one, eight = (json.loads((tmp_path / f'{i}.json').read_text()) for i in (1, 8))
    for metrics in (one, eight):
        del metrics['seconds']
    assert one == eight and one['top5'] > 0
    rows, expected = (load_predictions(tmp_path / f'{i}.pkl')[0] for i in (8, 1))
    assert [row['sample_idx'] for row in rows] == list(range(TEST_CLIPS))
    scores, reference = (np.stack([row['scores']['label'] for row in found]) for found in (rows, expected))
    np.testing.assert_allclose(scores, reference, rtol=0, atol=1e-6)
    assert scores.std(axis=0).max() > 1e-5  # clips differ by more than the tolerance
