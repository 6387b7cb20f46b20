"""Sizes of everything that ``tools/analysis_tools/check_gpu.py`` measures: on a GPU, and in miniature on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import peer_memory
from benchmarks.gpu.training import ROOT
from benchmarks.machine import PEAK_SIZES
from benchmarks.peer_memory import PAPER, Setting
from benchmarks.peers import Case, attention_case, video_case
from mmav.models import AST, MAT

FLAGSHIP = ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'
HALF, FULL = 'bfloat16', 'float32'
# name of the case that the verdicts are about
EXPLICIT_B = 'MViTv2-B, attention'


@dataclass(frozen=True)
class Encoders:
    """A case of :mod:`benchmarks.peers` and how it is measured.

    Attributes:
        name: In the results.
        build: Makes the case.
        dtypes: Of ``DTYPES``.
        modes: What is timed.
        batch_size: Inputs per batch.
        package: The case of ``require_peers`` whose package it needs.
    """

    name: str
    build: Callable[[], Case]
    dtypes: tuple[str, ...]
    modes: tuple[str, ...]
    batch_size: int = 8
    package: str = ''


@dataclass(frozen=True)
class Scale:
    """Sizes of everything that is measured.

    Attributes:
        name: 'full' or 'miniature'.
        device: 'cuda' or 'cpu'.
        tests: Folder of the tests.
        test_processes: Processes that run them in parallel, as most time goes into compiling kernels.
        batch_size: Clips per training iteration.
        iterations: Number of training iterations.
        clips: How clips are made, see :func:`~benchmarks.gpu.training.make_data`.
        attention_batch: Clips per batch where forms of attention are timed.
        rounds: How often each form or model is timed.
        encoders: Cases of the section of that name, most important first.
        forms: Cases of the section that compares whole models in the forms of attention.
        settings: What is trained to measure memory.
        memory_batches: 'MAT' and 'AST' -> clips.
        peak_sizes: Of the matrices whose product shows the machine's peak.
        config_text: Text of a config that overrides the flagship's; empty for no change.
        options: For ``--cfg-options`` of the training.
    """

    name: str
    device: str
    tests: Path
    test_processes: int
    batch_size: int
    iterations: int
    clips: Mapping[str, Any]
    attention_batch: int
    rounds: int
    encoders: tuple[Encoders, ...]
    forms: tuple[Encoders, ...]
    settings: tuple[Setting, ...]
    memory_batches: Mapping[str, int]
    peak_sizes: tuple[int, ...]
    config_text: str = ''
    options: tuple[str, ...] = ()

    def config(self, scratch: Path) -> Path:
        """The flagship's config at this size."""
        if not self.config_text:
            return FLAGSHIP
        path = scratch / 'flagship.py'
        path.write_text(f"_base_ = ['{FLAGSHIP}']\n{self.config_text}", encoding='utf-8')
        return path


def full_scale() -> Scale:
    """The sizes of the paper and of its flagship, for a GPU."""
    both = (HALF, FULL)
    return Scale(
        name='full',
        device='cuda',
        tests=ROOT / 'tests',
        test_processes=8,
        batch_size=8,
        iterations=8,
        # length and audio of VGGSound's clips, frames as they are prepared for training
        clips=dict(size=256, seconds=10, fps=25, sample_rate=44100),
        attention_batch=8,
        rounds=5,
        encoders=(
            Encoders(EXPLICIT_B, partial(attention_case, lean=True), both, ('step',)),
            Encoders('MViTv2-S', video_case, both, ('forward', 'step'), package='video'),
            Encoders('MViTv2-B', partial(video_case, arch='base'), both, ('forward', 'step'), package='video'),
            Encoders('MViTv2-S, attention', partial(attention_case, arch='small', lean=True), both, ('step',)),
        ),
        forms=_forms('triton', 'folded'),
        settings=peer_memory.SETTINGS,
        memory_batches={model: int(figures['batch_size']) for model, figures in PAPER.items()},
        peak_sizes=PEAK_SIZES,
    )


def miniature() -> Scale:
    """The same in miniature, for a CPU: seconds, and figures that mean nothing."""
    arch = dict(embed_dims=16, num_layers=4, num_heads=1, stage_blocks=(1, 2, 3))
    clip, sound, pipeline = (4, 32, 32), (32, 64), 'train_dataloader.dataset.pipeline'
    vit: dict[str, Any] = dict(embed_dims=32, num_layers=2, num_heads=2)
    return Scale(
        name='miniature',
        device='cpu',
        tests=ROOT / 'tests',
        test_processes=2,
        config_text=f"""
arch = {dict(arch, _delete_=True)}
model = dict(
    backbones=dict(video=dict(arch=arch, input_size={clip}), audio=dict(arch=arch, input_size={sound})),
    neck=dict(embed_dims=128, num_heads=4, num_blocks=1),
)
""",
        options=(
            'train_dataloader.batch_size=2',
            'train_dataloader.num_workers=0',
            'val_dataloader.num_workers=0',
            f'{pipeline}.0.num_frames={clip[0]}',
            f'{pipeline}.0.short_side=36',
            f'{pipeline}.1.size={clip[1]}',
            f'{pipeline}.5.num_mel_bins={sound[0]}',
            f'{pipeline}.5.target_frames={sound[1]}',
        ),
        batch_size=2,
        iterations=3,
        clips=dict(size=32, seconds=1, fps=8, sample_rate=16000),
        attention_batch=1,
        rounds=1,
        encoders=(
            Encoders(EXPLICIT_B, partial(attention_case, arch=arch, size=clip, lean=True), (HALF, FULL), ('step',), 2),
            Encoders('MViTv2-S', partial(video_case, arch=arch, size=clip), (HALF,), ('forward',), 2, 'video'),
        ),
        forms=_forms('explicit', 'folded', arch=arch, clip=clip, sound=sound, batch_size=2),
        settings=(
            # what is the default on a GPU
            Setting('MAT', 'MAT', partial(MAT, arch, sound), shape=(1, *sound), checkpointing='lean'),
            Setting('AST, plain attention', 'AST', partial(AST, sound, **vit), shape=(1, *sound), plain=True),
        ),
        memory_batches=dict(MAT=2, AST=1),
        peak_sizes=(128, 256),
    )


def _forms(
    *forms: str,
    arch: str | Mapping[str, Any] = 'base',
    clip: tuple[int, int, int] = (16, 224, 224),
    sound: tuple[int, int] = (128, 1024),
    batch_size: int = 8,
) -> tuple[Encoders, ...]:
    sizes: dict[str, tuple[int, ...]] = {'MViTv2-B, forms': clip, 'MAT, forms': sound}
    builds = {name: partial(attention_case, arch=arch, size=size, forms=forms) for name, size in sizes.items()}
    return tuple(Encoders(name, build, (HALF,), ('step',), batch_size) for name, build in builds.items())
