"""How long an epoch of training on stored features takes, with random features of a config's sizes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmav.datasets.features import FeatureStore, StoredModality, write_features
from mmav.engine.features.encoders import Encoded, load_encoders, stored_grids
from mmav.engine.features.report import in_bytes
from mmav.engine.features.twin import make_twin
from mmav.errors import ConfigError
from mmav.models.backbones.base import input_shape
from mmav.models.heads import ClsHead
from mmav.registry import RUNNERS
from mmav.threads import sharing_cores

TRAIN = 'train_dataloader'


@dataclass(frozen=True)
class EpochTimes:
    """What was measured.

    Attributes:
        clips: Clips of an epoch.
        stored: Modality -> what is stored of each.
        bytes: Size of the features.
        parameters: How many numbers are trained.
        seconds: Of each epoch, without validation and checkpoints.
        cpu_seconds: CPU time of each epoch, of all threads; on a machine that is busy with other work it says more.
    """

    clips: int
    stored: dict[str, StoredModality]
    bytes: int
    parameters: int
    seconds: list[float]
    cpu_seconds: list[float]

    def describe(self) -> str:
        """The result in a line."""
        sizes = ', '.join(
            f'{name} {each.views} x {1 + each.num_tokens} x {each.width}' for name, each in self.stored.items()
        )
        best = min(self.seconds)
        every = ', '.join(f'{seconds:.1f}' for seconds in self.seconds)
        return (
            f'{self.clips:,} clips of {sizes} ({in_bytes(self.bytes)}), {self.parameters / 1e6:.1f} M parameters: '
            f'{best:.1f} s an epoch, {self.clips / best:,.0f} clips a second (all epochs: {every} s), '
            f'{min(self.cpu_seconds):.1f} s of CPU time with {torch.get_num_threads()} threads'
        )


class EpochClock(Hook):
    """Times the epochs of training."""

    priority = 'VERY_HIGH'  # before checkpoints are written

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []

    def before_train_epoch(self, runner: Any) -> None:
        """Starts the clock."""
        self._start, self._cpu = time.perf_counter(), time.process_time()

    def after_train_epoch(self, runner: Any) -> None:
        """Stops the clock."""
        self.seconds.append(time.perf_counter() - self._start)
        self.cpu_seconds.append(time.process_time() - self._cpu)


def random_features(cfg: Config, folder: str | Path, clips: int, *, dtype: str = 'float32') -> FeatureStore:
    """Writes random features of the sizes that the encoders of a config give and its neck reads.

    Args:
        cfg: The config; its encoders run once.
        folder: Where to.
        clips: How many.
        dtype: Of the stored numbers.

    Raises:
        ConfigError: The head is not for one label.
    """
    cfg.model.pretrained = False
    model: Any = load_encoders(cfg, None)
    if not isinstance(model.head, ClsHead):
        raise ConfigError('random features have one label: give a config with a ClsHead')
    inputs = {name: torch.randn(1, 1, *input_shape(backbone)) for name, backbone in model.backbones.items()}
    masks = {name: torch.ones(1, dtype=torch.bool) for name in inputs}
    with torch.inference_mode():
        encoded = Encoded(model, dict(inputs=inputs, masks=masks, data_samples=[None]), stored_grids(model, 'auto'))
    generator = torch.Generator().manual_seed(0)
    classes = model.head.num_classes
    write_features(
        folder,
        {name: torch.randn(clips, *tokens.shape[1:], generator=generator) for name, tokens in encoded.tokens.items()},
        dict(label=[k % classes for k in range(clips)]),
        classes=dict(label=[str(k) for k in range(classes)]),
        grids=encoded.grids,
        dtype=dtype,
    )
    return FeatureStore(folder)


def time_epochs(
    cfg: Config, *, clips: int, epochs: int = 3, batch_size: int | None = None, dtype: str = 'float32'
) -> EpochTimes:
    """Trains on random features, by the runner that ``mmav train`` uses.

    Args:
        cfg: The config; its data are not needed, and it is changed.
        clips: Clips of an epoch.
        epochs: How many are timed.
        batch_size: Defaults to the config's.
        dtype: Of the stored features.

    Raises:
        ConfigError: The config cannot be trained on features.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = random_features(cfg, Path(folder, 'train'), clips, dtype=dtype)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[loader].dataset.data_root = folder  # without a manifest
        make_twin(cfg, folder, loaders=[TRAIN])
        cfg.train_cfg = dict(type='AVTrainLoop', max_epochs=epochs)
        cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None, param_scheduler=None)
        cfg.update(test_dataloader=None, test_cfg=None, test_evaluator=None, work_dir=folder, launcher='none')
        cfg.default_hooks.checkpoint = None
        cfg[TRAIN].pop('pin_memory', None)
        if batch_size is not None:
            cfg[TRAIN].batch_size = batch_size
        cfg.setdefault('runner_type', 'AVRunner')
        clock = EpochClock()
        with sharing_cores(0):
            runner = RUNNERS.build(cfg)
            runner.register_hook(clock)
            runner.train()
        parameters = sum(parameter.numel() for parameter in runner.model.parameters())
        size = sum(path.stat().st_size for path in Path(folder, 'train').glob('*.safetensors'))
        return EpochTimes(len(store), store.index.modalities, size, parameters, clock.seconds, clock.cpu_seconds)
