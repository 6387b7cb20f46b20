"""Embeddings of files and arrays: what a trained model makes of a clip before its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from mmav.errors import MediaError
from mmav.inference.inferencer import AVInferencer
from mmav.inference.reading import Job, in_batches, read_ahead
from mmav.inference.sources import list_sources
from mmav.inference.windows import windows_of
from mmav.threads import cpu_count

# what the last layer reads: all streams, concatenated
JOINED = 'joined'


def embed(
    inferencer: AVInferencer,
    inputs: Any,
    batch_size: int = 8,
    *,
    drop: Sequence[str] = (),
    stride: float | None = None,
    max_windows: int = 10_000,
    num_workers: int | None = None,
    show_progress: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Embeds clips with the encoders and the neck of a classifier.

    A clip longer than the model's window is embedded window by window; its embedding is the mean over them.

    Args:
        inferencer: The model and its test pipeline.
        inputs: A path, a folder, arrays, or a list of them, see :func:`mmav.inference.sources.list_sources`.
        batch_size: Windows in a batch.
        drop: Modalities that are withheld from the model.
        stride: Most seconds from the start of one window to the next; defaults to the window's length.
        max_windows: A clip of more windows is not read.
        num_workers: Threads that read; defaults to one per core, but 4 at most.
        show_progress: Whether to show a progress bar.

    Returns:
        Of each clip name -> (D,) float32: every stream of the neck, such as ``fused``; the class embedding of every
        modality that the clip has; and ``joined``, the concatenated streams, which the last layer reads.

    Raises:
        MediaError: A clip cannot be read, or has none of what the model needs.
        MmavError: There is nothing to embed.
    """
    model: Any = inferencer.model
    sources = list_sources(inputs)
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in sources]
    jobs = []
    for k, source in enumerate(sources):
        _, windows = windows_of(source, inferencer.window, stride, max_windows=max_windows)
        jobs += [Job(k, start, end) for start, end in (windows if len(windows) > 1 else [(None, None)])]
    outcomes = read_ahead(
        lambda job: inferencer.read(sources[job.clip], start=job.start, end=job.end, drop=drop),
        jobs,
        workers=min(4, cpu_count()) if num_workers is None else num_workers,
        ahead=2 * batch_size,
    )
    kept, model.keep_features = model.keep_features, True
    try:
        with tqdm(desc='windows', unit='window', total=len(jobs), disable=not show_progress) as bar:
            for batch in in_batches(outcomes, batch_size):
                for _, item in batch:
                    if isinstance(item, MediaError):
                        raise item
                samples = inferencer.forward(inferencer.collate_fn([item for _, item in batch]))
                for (job, _), sample in zip(batch, samples, strict=True):
                    named = {JOINED: sample.feature, **sample.features}
                    found[job.clip].append({name: value.float().cpu().numpy() for name, value in named.items()})
                bar.update(len(batch))
    finally:
        model.keep_features = kept
    return [_mean(windows) for windows in found]


def _mean(windows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of the windows that have a feature: one of them may lack a modality."""
    names = dict.fromkeys(name for window in windows for name in window)
    kept = {name: np.array([window[name] for window in windows if name in window]) for name in names}
    return {name: values.mean(axis=0, dtype=np.float64).astype(np.float32) for name, values in kept.items()}
