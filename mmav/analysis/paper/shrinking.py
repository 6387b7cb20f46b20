"""Configs at paper size made small enough for a CPU: the same parts and steps, with fewer and narrower ones of each.

What a row of the paper is (encoders, neck, losses, views, two augmented views a clip) stays; widths, numbers of layers,
sizes of the input and the schedule become those of a trial. Figures of such models say nothing about the paper.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmav.config.edits import DATALOADERS, dicts_within
from mmav.errors import ConfigError
from mmav.outputs import write_output

FRAMES, SIZE, MELS, SPECTRA = 4, 32, 32, 64
_VIDEO, _AUDIO = (FRAMES, SIZE, SIZE), (MELS, SPECTRA)
_WIDTH, _BATCH = 16, 4
_ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
# type of an encoder -> what makes it small
_ENCODERS: dict[str, dict[str, Any]] = dict(
    MViTv2=dict(arch=_ARCH, input_size=_VIDEO, patch_stride=(2, 8, 8), kv_stride=(1, 2, 2)),
    MAT=dict(arch=_ARCH, input_size=_AUDIO, q_strides=((2, 2),)),
    AST=dict(embed_dims=_WIDTH, num_layers=2, num_heads=2, input_size=_AUDIO),
    ViT=dict(embed_dims=_WIDTH, num_layers=2, num_heads=2, input_size=_VIDEO),
)
_NECK = dict(embed_dims=_WIDTH, num_blocks=1, num_heads=2)
# type of a transform -> what makes it small
_STEPS: dict[str, dict[str, Any]] = dict(
    LoadClip=dict(num_frames=FRAMES, short_side=SIZE + 4, window=SPECTRA / 100),
    RandomResizedCrop=dict(size=SIZE),
    CenterCrop=dict(size=SIZE),
    LogMel=dict(num_mel_bins=MELS, target_frames=SPECTRA),
    SpecAugment=dict(freq_mask=8, time_mask=12),
)


def shrink(cfg: Config, *, epochs: int = 1) -> Config:
    """Makes a config of the paper's models small; changes ``cfg`` and returns it.

    Args:
        cfg: A config with encoders of the types MViTv2, MAT, AST and ViT.
        epochs: Of the schedule, which loses its warm-up.

    Raises:
        ConfigError: An encoder is of another type.
    """
    for modality, encoder in cfg.model.backbones.items():
        if encoder is None:
            continue
        if encoder.type not in _ENCODERS:
            known = ', '.join(_ENCODERS)
            raise ConfigError(
                f'model.backbones.{modality}.type={encoder.type!r} cannot be made small: only {known} can'
            )
        for name in ('init_cfg', 'drop_path_rate'):
            encoder.pop(name, None)
        encoder.update(_ENCODERS[encoder.type])
    cfg.model.neck.update({name: value for name, value in _NECK.items() if name in cfg.model.neck})
    if cfg.model.get('contrast'):
        cfg.model.contrast.embed_dims = _WIDTH
    for part in dicts_within([cfg.get(loader) for loader in DATALOADERS]):
        part.update(_STEPS.get(part.get('type', ''), {}))
    for loader in DATALOADERS:
        cfg[loader].update(batch_size=_BATCH, num_workers=0)
        for name in ('persistent_workers', 'pin_memory'):
            cfg[loader].pop(name, None)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    cfg.param_scheduler = [
        dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=epochs, convert_to_iter_based=True)
    ]
    cfg.optim_wrapper.optimizer.lr = 1e-3
    return cfg


def write_small_config(cfg: Config, source: str | Path, folder: Path) -> Path:
    """Writes a config that :func:`shrink` made small under the name of its source, and returns the path.

    Args:
        cfg: The small config.
        source: The config at paper size.
        folder: Where to; may be missing.
    """
    path = folder / Path(source).name
    write_output(path, f'"""{Path(source).name}, made small to be tried on a CPU."""\n\n{cfg.pretty_text}')
    return path
