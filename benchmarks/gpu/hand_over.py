"""What it saves to copy a batch to the GPU one step ahead, and what the steps of a pipeline cost there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.processes import Report
from benchmarks.gpu.scale import Scale
from mmav.datasets.transforms import DeviceLogMel as Waveforms
from mmav.datasets.transforms import LogMel
from mmav.engine.hand_over import ahead_of
from mmav.models import AVDataPreprocessor
from mmav.structures import AVDataSample

# of the flagship, and in miniature: clips, views, frames, height and width; seconds of sound; rows of the matrices
# whose product stands for a step, and how many products
SIZES = dict(full=((8, 2, 16, 224, 224), 10.0, 4096, 24), miniature=((2, 1, 4, 16, 16), 0.5, 64, 2))
BATCHES, WARM_UP = 24, 4
NORM = dict(video=dict(mean=0.45 * 255, std=0.225 * 255), audio=dict(mean=-5.081, std=4.4849))
STEPS: dict[str, Any] = dict(random_erasing=dict(p=0.25), log_mel={}, spec_augment=dict(num_views=2))


def make_batch(scale: Scale, seed: int) -> dict[str, Any]:
    """A batch as workers collate it where the device computes spectrograms; in pinned memory for a GPU."""
    (clips, views, frames, height, width), seconds, _, _ = SIZES[scale.name]
    generator = torch.Generator().manual_seed(seed)
    sound = noise(seconds, seed)
    step = Waveforms()
    wave = step.transform(dict(audio=[sound], masks=dict(audio=True)))['audio'][0]
    packed = torch.zeros(clips, 1, 1, step.samples)
    packed[..., : len(wave)] = torch.from_numpy(wave)
    shape = (clips, views, 3, frames, height, width)
    inputs = dict(video=torch.randint(256, shape, dtype=torch.uint8, generator=generator), audio=packed)
    pin: Callable[[Tensor], Tensor] = Tensor.pin_memory if scale.device == 'cuda' else lambda value: value
    return dict(
        inputs={name: pin(value) for name, value in inputs.items()},
        masks={name: torch.ones(clips, dtype=torch.bool) for name in inputs},
        lengths=dict(audio=torch.full((clips, 1), len(wave))),
        data_samples=[AVDataSample().set_gt_label(k) for k in range(clips)],
    )


def noise(seconds: float, seed: int) -> np.ndarray:
    """Sound (S,) at 16 kHz."""
    return 0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds)).astype(np.float32)


def compare_hand_over(report: Report, scale: Scale) -> None:
    """The time of a step whose batch is copied when it begins, and one step ahead; and of the steps on the device."""
    (clips, *_), _, _, _ = SIZES[scale.name]
    batches = [make_batch(scale, seed) for seed in range(4)]
    size = sum(value.numel() * value.element_size() for value in batches[0]['inputs'].values())
    report.put(batch_size=clips, batch_bytes=size)
    for name, ahead in dict(without=False, ahead=True).items():
        found = report.part(name, partial(step_seconds, batches, scale, ahead=ahead))
        if found is not None:
            report.put(**{name: found})
    steps = report.part('steps', partial(device_steps, batches[0], scale))
    report.put(**(dict(steps=steps) if steps else {}))
    report.put(**(report.part('spectrograms', partial(furthest, batches[0], scale)) or {}))


def step_seconds(batches: list[dict[str, Any]], scale: Scale, *, ahead: bool) -> float:
    """Seconds of a step, of which the log reads one number, as training does."""
    *_, rows, products = SIZES[scale.name]
    preprocessor = AVDataPreprocessor(NORM, **STEPS).to(scale.device)
    work = torch.randn(rows, rows, device=scale.device) / rows**0.5
    given = (batches[k % len(batches)] for k in range(WARM_UP + BATCHES))
    found = ahead_of(SimpleNamespace(data_preprocessor=preprocessor), given) if ahead else given
    begin = 0.0
    for k, batch in enumerate(found):
        if k == WARM_UP:
            begin = time.perf_counter()
        inputs = preprocessor(batch, training=True)['inputs']
        value = work
        for _ in range(products):
            value = value @ work
        (value.sum() + sum(x.sum() for x in inputs.values())).item()
    return (time.perf_counter() - begin) / BATCHES


def device_steps(batch: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    """Seconds that a batch takes in the data preprocessor, without and with each of the steps."""
    found = {}
    for name in ('none', 'random_erasing', 'log_mel', 'all'):
        names = list(STEPS) if name == 'all' else [key for key in STEPS if key == name]
        sound = 'log_mel' in names
        inputs = {key: value for key, value in batch['inputs'].items() if sound or key == 'video'}
        data: dict[str, Any] = dict(
            inputs=inputs, masks=None, data_samples=[], lengths=batch['lengths'] if sound else None
        )
        preprocessor = AVDataPreprocessor(NORM, **{key: STEPS[key] for key in names}).to(scale.device)
        given = preprocessor.hand_over(data)
        run = partial(preprocessor, given, training=True)
        run()
        _wait(scale)
        begin = time.perf_counter()
        for _ in range(BATCHES):
            run()
        _wait(scale)
        found[name] = (time.perf_counter() - begin) / BATCHES
    return found


def furthest(batch: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    """How far spectrograms of noise on the device are from those of a worker: at most, and 99.9 % of the values."""
    _, seconds, _, _ = SIZES[scale.name]
    expected = torch.from_numpy(LogMel().spectrogram(noise(seconds, 0)))
    found = AVDataPreprocessor(log_mel={}).to(scale.device)(dict(batch))['inputs']['audio'][0, 0, 0].cpu()
    difference = (found - expected).abs().flatten()
    most = difference.kthvalue(round(0.999 * difference.numel())).values
    return dict(furthest=float(difference.max()), furthest_of_most=float(most))


def _wait(scale: Scale) -> None:
    if scale.device == 'cuda':
        torch.cuda.synchronize()


def hand_over_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A table of what :func:`compare_hand_over` found; the first row is the header."""
    rows = [['batch', f'{found["batch_size"]} clips, {found["batch_bytes"] / 1e6:.1f} MB']]
    for name, text in dict(without='step, batch copied when it begins', ahead='step, batch copied one ahead').items():
        if name in found:
            rows.append([text, f'{1e3 * found[name]:.2f} ms'])
    for name, seconds in found.get('steps', {}).items():
        rows.append([f'data preprocessor on the device, steps: {name}', f'{1e3 * seconds:.2f} ms'])
    if 'furthest' in found:
        rows.append(
            [
                "log-mels of noise, furthest from a worker's (of 99.9 %)",
                f'{found["furthest"]:.1e} ({found["furthest_of_most"]:.1e})',
            ]
        )
    return rows
