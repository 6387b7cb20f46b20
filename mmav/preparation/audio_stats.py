"""Mean and standard deviation of a dataset's spectrograms, over all values and without sampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.transforms import LoadClip, Spectrogram
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.errors import AbsentError, ConfigError, MediaError
from mmav.parallel import Lost, run_parallel
from mmav.registry import TRANSFORMS


class ClipStats(NamedTuple):
    """Number of values of a clip's spectrogram, their mean and the sum of their squared distances from it."""

    number: int
    mean: float
    m2: float


@dataclass(frozen=True)
class AudioStats:
    """Statistics of spectrograms.

    Attributes:
        mean: Mean of all values that are audio.
        std: Standard deviation of all values that are audio (of the population).
        padded_mean: Mean including the zeros that fill spectrograms up to T frames, as AST's published values do.
        padded_std: Standard deviation including these zeros.
        clips: Number of clips measured.
        silent: Number of clips without audio, which are left out.
        broken: Path and reason of clips that cannot be read, which are left out.
        padding: Share of the spectrograms that is padding.
    """

    mean: float
    std: float
    padded_mean: float
    padded_std: float
    clips: int
    silent: int
    broken: tuple[tuple[str, str], ...]
    padding: float


def clip_stats(
    load: LoadClip, spectrogram: Spectrogram, clip: tuple[str, float | None, float | None]
) -> ClipStats | str | None:
    """Measures the middle window of one clip, without augmentation.

    Returns:
        Its statistics; None if it has no audio; the reason if it cannot be read.
    """
    path, start, end = clip
    results: dict[str, Any] = dict(path=path, start=start, end=end, modalities=('audio',), broken=None, rng=None)
    try:
        (wave,) = load.transform(results)['audio']
    except AbsentError:
        return None
    except MediaError as error:
        return error.reason
    frames = spectrogram.num_frames(len(wave))
    values = spectrogram.spectrogram(wave)[..., :frames].astype(np.float64)
    if not values.size:
        return None
    mean = float(values.mean())
    return ClipStats(values.size, mean, float(np.square(values - mean).sum()))


def merge(parts: Sequence[ClipStats], *, zeros: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of all values together with a number of zeros (Chan et al. 1979).

    Sums are computed without rounding, so that the order does not matter.
    """
    total = sum(part.number for part in parts) + zeros
    mean = math.fsum(part.number * part.mean for part in parts) / total
    between = math.fsum(part.number * (part.mean - mean) ** 2 for part in parts)
    m2 = math.fsum(part.m2 for part in parts) + between + zeros * mean**2
    return mean, math.sqrt(m2 / total)


def measure(
    datasets: AVDataset | Sequence[AVDataset],
    load: LoadClip,
    spectrogram: Spectrogram,
    *,
    jobs: int | None = None,
    time_limit: float | None = None,
) -> AudioStats:
    """Measures all clips of a dataset, or of several together.

    Args:
        datasets: Their rows are used, not their pipelines.
        load: Reads the audio.
        spectrogram: Turns it into spectrograms (F, T).
        jobs: Processes; defaults to one per core.
        time_limit: Seconds for one clip, after which it counts as broken; None for no limit.

    Raises:
        ConfigError: No clip has audio.
    """
    several = [datasets] if isinstance(datasets, AVDataset) else list(datasets)
    rows = [dataset.get_data_info(i) for dataset in several for i in range(len(dataset))]
    clips = [(row['path'], row['start'], row['end']) for row in rows]
    found: dict[int, ClipStats] = {}
    broken: dict[int, tuple[str, str]] = {}
    work = functools.partial(clip_stats, load, spectrogram)
    for index, result in run_parallel(work, clips, jobs=jobs, time_limit=time_limit, label='measuring'):
        if isinstance(result, ClipStats):
            found[index] = result
        elif isinstance(result, Lost):
            broken[index] = (clips[index][0], f'reading it {result.reason}')
        elif isinstance(result, str):
            broken[index] = (clips[index][0], result)
    if not found:
        names = ' and '.join(dataset.ann_file for dataset in several)
        raise ConfigError(f'none of the {len(clips)} clips of {names} has audio that can be read')
    parts = [found[index] for index in sorted(found)]
    whole = len(parts) * spectrogram.num_bins * spectrogram.target_frames
    zeros = whole - sum(part.number for part in parts)
    mean, std = merge(parts)
    padded_mean, padded_std = merge(parts, zeros=zeros)
    return AudioStats(
        mean=mean,
        std=std,
        padded_mean=padded_mean,
        padded_std=padded_std,
        clips=len(parts),
        silent=len(clips) - len(parts) - len(broken),
        broken=tuple(broken[index] for index in sorted(broken)),
        padding=zeros / whole,
    )


def front_end(pipeline: Sequence[dict[str, Any]]) -> tuple[LoadClip, Spectrogram]:
    """The reader and the audio front end of a pipeline, without randomness.

    Args:
        pipeline: Configs of transforms.

    Raises:
        ConfigError: The pipeline has no LoadClip or no audio front end.
    """
    names = [step['type'] for step in pipeline]
    spectrogram = find_spectrogram(map(TRANSFORMS.build, pipeline))
    if 'LoadClip' not in names or spectrogram is None:
        missing = 'Spectrogram such as LogMel' if 'LoadClip' in names else 'LoadClip'
        raise ConfigError(f'the pipeline has no {missing}, only {", ".join(map(str, names))}')
    return TRANSFORMS.build({**pipeline[names.index('LoadClip')], 'mode': 'uniform', 'num_views': 1}), spectrogram


def common_front_end(pipelines: Sequence[Sequence[dict[str, Any]]]) -> tuple[LoadClip, Spectrogram]:
    """The reader and the audio front end that pipelines of joined datasets share.

    Args:
        pipelines: Configs of transforms, one pipeline or more.

    Raises:
        ConfigError: As :func:`front_end`, or they differ.
    """
    first = front_end(pipelines[0])
    for pipeline in pipelines[1:]:
        other = front_end(pipeline)
        if other[1].identity() != first[1].identity() or other[0].sample_rate != first[0].sample_rate:
            raise ConfigError(
                'the joined datasets have different audio front ends, so their spectrograms have no common statistics: '
                'give them the same'
            )
    return first
