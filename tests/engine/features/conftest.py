"""A folder of six clips with a config of small encoders, and their features."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmav.engine.features.encoders import encoder_digests, load_encoders, save_encoders
from mmav.engine.features.extraction import Extraction
from mmav.engine.features.plan import Options

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
ROWS = ('a.mp4,0', 'b.mp4,1', 'silent.mp4,2', 'torn.mp4,0', 'long.mp4,1', 'blind.m4a,2')
CONFIG = """'''Small encoders on a folder of clips.'''
load = dict(type='LoadClip', num_frames=4, short_side=16)
rest = [
    dict(type='CenterCrop', size=16),
    dict(type='LogMel', num_mel_bins=16, target_frames=32),
    dict(type='PackAVInputs'),
]
test_pipeline = [dict(**load, mode='uniform'), *rest]
train_pipeline = [dict(**load, mode='random'), dict(type='RandomFlip'), *rest]
__dataset = dict(type='AVDataset', data_root={root!r}, classes='classes.txt', max_broken_share=0.5)
__loader = dict(batch_size=2, num_workers=0, collate_fn=dict(type='av_collate'))
train_dataloader = dict(
    **__loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**__dataset, ann_file='train.csv', pipeline=train_pipeline),
)
test_dataloader = dict(
    **__loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**__dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
val_dataloader = test_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg = dict(max_epochs=2, by_epoch=True)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
model = dict(
    type='AVClassifier',
    data_preprocessor=dict(
        type='AVDataPreprocessor', norm=dict(video=dict(mean=100, std=50), audio=dict(mean=-5.0, std=4.0))
    ),
    backbones=dict(
        video=dict(type='MViTv2', arch={arch}, input_size=(4, 16, 16), init_std=0.3, drop_path_rate=0.5),
        audio=dict(type='MAT', arch={arch}, input_size=(16, 32), q_strides=[(1, 2)], init_std=0.3),
    ),
    neck=dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_tokens=2, num_heads=2, init_std=0.3),
    head=dict(type='ClsHead', num_classes=3),
)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
default_scope = 'mmav'
randomness = dict(seed=3)
"""


@pytest.fixture(scope='session')
def clips_folder(tmp_path_factory, clip, flashes, silent, blind, broken):
    """Six rows: with both modalities, without audio, broken, longer than the rest, without video."""
    folder = tmp_path_factory.mktemp('features')
    names = {'a.mp4': clip, 'b.mp4': flashes, 'silent.mp4': silent, 'torn.mp4': broken['text'], 'long.mp4': flashes,
             'blind.m4a': blind}  # fmt: skip
    for name, path in names.items():
        os.symlink(path, folder / name)
    (folder / 'train.csv').write_text('path,label\n' + '\n'.join(ROWS))
    (folder / 'test.csv').write_text('path,label\n' + '\n'.join(ROWS[:4]))
    (folder / 'classes.txt').write_text('x\ny\nz')
    (folder / 'config.py').write_text(CONFIG.format(root=str(folder), arch=ARCH))
    return folder


@pytest.fixture(scope='session')
def base(clips_folder):
    """The config; a test takes a copy."""
    return Config.fromfile(clips_folder / 'config.py')


@pytest.fixture
def cfg(base):
    return copy.deepcopy(base)


def extract_all(cfg, folder: Path, *, splits=('train', 'test'), model=None, **options):
    """Extracts as the tool does; returns the model with its encoders."""
    model = model or load_encoders(cfg, None)
    weights = encoder_digests(model.state_dict())
    save_encoders(model, folder, weights)
    for split in splits:
        Extraction(
            cfg, model, folder / split, split=split, options=Options(**options), weights=weights, show_progress=False
        ).run()
    return model


@pytest.fixture(scope='session')
def extracted(base, tmp_path_factory):
    """All tokens of both splits: ``folder``, and the ``model`` with the encoders that made them."""
    folder = tmp_path_factory.mktemp('extracted')
    return SimpleNamespace(folder=folder, model=extract_all(copy.deepcopy(base), folder))
