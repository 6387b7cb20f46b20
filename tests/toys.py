"""The smallest parts that MMEngine can train, for tests of the engine that need no media files."""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.utils.dl_utils import collect_env
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import BatchSampler, Dataset

from mmav.errors import MmavError
from mmav.registry import DATA_SAMPLERS, DATASETS, HOOKS, MODELS
from mmav.structures import AVDataSample

NUM_CLASSES = 3


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Points around three centres; ``fail_at`` raises there, as a worker of a DataLoader would."""

    METAINFO = dict(classes=('a', 'b', 'c'))

    def __init__(
        self,
        length: int = 12,
        *,
        broken: tuple[int, ...] = (),
        fail_at: int | None = None,
        die_at: int | None = None,
        infinite: tuple[int, ...] = (),
        record: str | None = None,
    ) -> None:
        self.length, self.broken, self.fail_at = length, broken, fail_at
        self.die_at, self.infinite, self.record = die_at, infinite, record
        self.metainfo = dict(self.METAINFO)
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def broken_count(self) -> int:
        return len(self.broken)

    def __getitem__(self, index: int) -> dict:
        if index == self.fail_at:
            raise MmavError(f'clip {index} is a mistake')
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.record is not None:
            with open(self.record, 'a') as file:
                file.write(f'{index}\n')
        label = index % NUM_CLASSES
        generator = torch.Generator().manual_seed(index)
        point = torch.randn(4, generator=generator) + 3 * nn.functional.one_hot(torch.tensor(label), 4)
        if index in self.infinite:
            point = point * torch.inf
        sample = AVDataSample(
            metainfo=dict(
                path=f'{index}.mp4',
                start=0.0,
                end=1.0,
                sample_idx=index,
                broken='torn' if index in self.broken else None,
            )
        )
        return dict(inputs=point, data_samples=sample.set_gt_label(label))


@DATASETS.register_module()
class ToyTwice(Dataset):
    """A dataset around another, which it goes through twice."""

    def __init__(self) -> None:
        self.dataset = ToyDataset()

    def __len__(self) -> int:
        return 2 * len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[index % len(self.dataset)]


@MODELS.register_module()
class ToyModel(BaseModel):
    """A linear layer behind dropout."""

    def __init__(self, width: int = 4, num_classes: int = NUM_CLASSES, freeze: bool = False) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, num_classes)
        self.fc.bias.requires_grad_(not freeze)

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor'):
        logits = self.fc(self.drop(torch.stack(list(inputs))))
        if mode == 'loss':
            labels = torch.stack([sample.gt_label for sample in data_samples])
            return dict(loss=nn.functional.cross_entropy(logits, labels))
        return [sample.set_pred_score(score) for sample, score in zip(data_samples, logits.softmax(-1), strict=True)]


@DATA_SAMPLERS.register_module()
class ToyBatchSampler(BatchSampler):
    """A sampler of batches that is not mmav's."""


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends this process a signal after an iteration, or in a validation, counted from 1."""

    def __init__(
        self, number: int, after_iter: int | None = None, in_val: int | None = None, rank: int | None = None
    ) -> None:
        self.number, self.after_iter, self.in_val = number, after_iter, in_val
        if rank not in (None, int(os.environ.get('RANK', '0'))):
            self.after_iter = self.in_val = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after_iter:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.epoch == self.in_val and batch_idx == 0:
            os.kill(os.getpid(), self.number)


ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / 'configs' / '_base_' / 'default_runtime.py'

CONFIG = f"""'''A toy.'''
_base_ = [{str(RUNTIME)!r}]
custom_imports = dict(imports=['tests.toys'])
num_classes = 3
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=True,
    dataset=dict(type='ToyDataset'),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=4, dataset=dict(type='ToyDataset'), sampler=dict(type='DefaultSampler', shuffle=False)
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 2))
test_evaluator = val_evaluator
train_cfg = dict(type='AVTrainLoop', max_epochs=4)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, convert_to_iter_based=True)]
auto_scale_lr = dict(base_batch_size=8)
"""


def tool_environment(**variables: str) -> dict[str, str]:
    """Variables for a tool in a process of its own, with the packages of requirements/runtime.txt only.

    MMEngine imports transformers and torchvision where they are, which takes longer than a toy's training.
    """
    path = os.pathsep.join([str(ROOT / 'tests' / 'without'), str(ROOT)])
    return dict(os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable, PYTHONPATH=path) | variables


def import_all() -> None:
    """Imports what a tool does on its way, so that the forks of this process need not, each for itself."""
    parts = ('datasets', 'evaluation', 'models', 'visualization')
    for name in ('torch._dynamo', 'matplotlib.backends.backend_agg', *(f'mmav.{part}' for part in parts)):
        importlib.import_module(name)
    collect_env()  # MMEngine's, for the log: torchvision and setuptools


def run_tool(tool: str, *arguments: object) -> int:
    """Runs a tool of the repository in this process, which saves importing torch; returns its exit status."""
    # runs that start in the same second share their name, and so MMEngine's global state
    for manager in (MessageHub, MMLogger, Visualizer, DefaultScope):
        manager._instance_dict.clear()
    argv, sys.argv = sys.argv, [tool, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = argv
        gc.collect()  # a run's workers must not outlive it into the next one's fork
    return 0


def write_config(folder: Path, extra: str = '') -> Path:
    """Writes the toy experiment, with more lines at its end, and returns its path."""
    path = folder / 'toy.py'
    path.write_text(CONFIG + extra)
    return path
