"""Small models with weights that tell clips apart, and the files that a user would have of them."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config

from mmav.registry import MODELS

CLASSES = ('cat', 'dog', 'fox', 'owl')
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
VIDEO = dict(type='MViTv2', arch=ARCH, input_size=(4, 32, 32), patch_stride=(2, 8, 8), init_std=0.5)
AUDIO = dict(type='MAT', arch=ARCH, input_size=(16, 200), patch_stride=(8, 8), q_strides=[(1, 2)], init_std=0.5)
BOTTLENECK = dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2)


def config(modalities=('video', 'audio'), *, head=None, window=None, views=1, data_root='', **dataset) -> Config:
    """Clips of 4 frames and 2 s of sound."""
    backbones = {name: dict(VIDEO if name == 'video' else AUDIO) for name in modalities}
    pipeline = [
        dict(type='LoadClip', num_frames=4, mode='uniform', short_side=36, window=window, num_views=views),
        dict(type='CenterCrop', size=32),
        dict(type='LogMel', num_mel_bins=16, target_frames=200),
        dict(type='PackAVInputs'),
    ]
    norm = dict(video=dict(mean=115.0, std=57.0), audio=dict(mean=-5.0, std=4.5))
    return Config(
        dict(
            default_scope='mmav',
            model=dict(
                type='AVClassifier',
                data_preprocessor=dict(type='AVDataPreprocessor', norm={name: norm[name] for name in modalities}),
                backbones=backbones,
                neck=BOTTLENECK if len(modalities) == 2 else dict(type='Avg'),
                head=head or dict(type='ClsHead', num_classes=len(CLASSES)),
            ),
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='av_collate'),
                dataset=dict(
                    type='AVDataset',
                    ann_file='test.csv',
                    data_root=data_root,
                    pipeline=pipeline,
                    modalities=list(modalities),
                    test_mode=True,
                    **dataset,
                ),
            ),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
            test_cfg=dict(),
        )
    )


def write_model(folder: Path, cfg: Config, *, classes=CLASSES, seed: int = 0) -> tuple[Path, Path]:
    """Writes a config and a checkpoint as training does, with the class names where they are given."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    with torch.no_grad():
        for name, weight in model.head.named_parameters():
            torch.nn.init.normal_(weight, std=1.0 if name.endswith('weight') else 0.1)
    path, checkpoint = folder / 'model.py', folder / 'model.pth'
    cfg.dump(path)
    meta = dict(dataset_meta=dict(classes=classes, multi_label=model.head.multi_label))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    return path, checkpoint
