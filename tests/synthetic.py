"""A small audio-video experiment whose clips are numbers: no media, no randomness, for tests of several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from mmav.models import AVClassifier
from mmav.registry import DATASETS, MODELS
from mmav.structures import AVDataSample

CLASSES, VERBS, NOUNS = 5, 2, 3
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))


@DATASETS.register_module()
class SyntheticClips(Dataset):
    """Clips of a picture and a sound; every fifth has no sound, one cannot be read. ``classes`` may be in any order."""

    def __init__(
        self,
        length: int = 32,
        *,
        views: int = 1,
        actions: bool = False,
        broken: int | None = None,
        classes: Any = None,
    ) -> None:
        self.length, self.views, self.actions, self.broken = length, views, actions, broken
        names = [f'class {i}' for i in range(CLASSES)]
        known = dict(verb=names[:VERBS], noun=names[:NOUNS]) if actions else names
        self.metainfo = dict(classes=known if classes is None else classes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        inputs = dict(
            video=torch.randn(2, 3, 4, 16, 16, generator=generator),
            audio=torch.randn(2, 1, 16, 32, generator=generator),
        )
        masks = dict(video=torch.tensor(True), audio=torch.tensor(index % 5 != 4))
        broken = 'torn' if index == self.broken else None
        path = f'P{index % 3:02}_{index}.mp4'
        sample = AVDataSample(metainfo=dict(path=path, start=0.0, end=1.0, sample_idx=index, broken=broken))
        if self.actions:
            for part, number in (('verb', VERBS), ('noun', NOUNS)):
                sample.set_gt_label(_place(index % number, self.metainfo['classes'][part]), part)
        else:
            sample.set_gt_label(_place(index % CLASSES, self.metainfo['classes']))
        return dict(inputs=inputs, masks=masks, data_samples=sample)


def _place(number: int, names: list[str]) -> int:
    """Where a list has the class of a number."""
    name = f'class {number}'
    return names.index(name) if name in names else number % len(names)


@MODELS.register_module()
class DoubleClassifier(AVClassifier):
    """In float64, in which rounding stays far below what a wrong gradient would do."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.double()

    def forward(self, inputs, *args, **kwargs):
        return super().forward({name: x.double() for name, x in inputs.items()}, *args, **kwargs)


def experiment(
    batch_size: int, *, optimizer: dict, contrast: bool = False, double: bool = False, **test: object
) -> dict:
    """The config of 20 steps of 8 clips in all, and of a test set that 2 processes do not divide evenly.

    Args:
        batch_size: Clips in a batch of a process.
        optimizer: Config of the optimizer.
        contrast: Whether the contrastive losses are added.
        double: Whether the model is in float64.
        test: Arguments of the test set.
    """
    losses = [dict(type='AVCLoss', loss_weight=0.25), dict(type='IMCLoss', loss_weight=0.25)]
    head = dict(type='ClsHead', num_classes=CLASSES)
    evaluator = [dict(type='Accuracy', topk=(1, 2))]
    if test.get('actions'):
        head = dict(type='VerbNounHead', num_verbs=VERBS, num_nouns=NOUNS)
        evaluator = [dict(type='ActionAccuracy', topk=(1, 2), unseen_participants=['P01'])]
    loader = dict(num_workers=0, collate_fn=dict(type='av_collate'))
    return dict(
        default_scope='mmav',
        custom_imports=dict(imports=['tests.synthetic']),
        model=dict(
            type='DoubleClassifier' if double else 'AVClassifier',
            backbones=dict(
                video=dict(type='MViTv2', arch=ARCH, input_size=(2, 16, 16)),
                audio=dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)]),
            ),
            neck=dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2),
            head=head,
            contrast=dict(type='ContrastiveHead', embed_dims=6, losses=losses) if contrast else None,
        ),
        train_dataloader=dict(
            **loader, batch_size=batch_size, dataset=dict(type='SyntheticClips', views=2 if contrast else 1),
            sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
        ),
        test_dataloader=dict(
            **loader, batch_size=4, dataset=dict(type='SyntheticClips', **test),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        optim_wrapper=dict(optimizer=optimizer, clip_grad=dict(max_norm=1.0)),
        train_cfg=dict(by_epoch=True, max_epochs=5),
        test_cfg=dict(),
        test_evaluator=evaluator,
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=1)),
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        randomness=dict(seed=0),
    )  # fmt: skip
