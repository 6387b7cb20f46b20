"""How long a model takes for a clip: in PyTorch, in onnxruntime, and from the file to the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.measure import quartiles, time_in_turn
from mmav.deployment.onnx_export import DEFAULT_OPSET, export_graph, onnx_bytes, open_session, random_batch
from mmav.inference import AVInferencer
from mmav.tables import milliseconds

BACKENDS = ('torch', 'onnxruntime')


def measure_latency(
    inferencer: AVInferencer,
    path: str,
    *,
    backends: Sequence[str] = BACKENDS,
    batch_sizes: Sequence[int] = (1,),
    rounds: int = 10,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Times the ways to run a model on the CPU, in turn within each round, after a warm-up round.

    Args:
        inferencer: Model and test pipeline, on the CPU.
        path: A media file, for the ways that start from one.
        backends: Of 'torch' (inference mode) and 'onnxruntime' (the exported model); both run the same graph, one view
            of each modality, normalisation included, on the same numbers.
        batch_sizes: Clips per batch.
        rounds: How often each way is timed.
        progress: Whether to show a progress bar.

    Returns:
        One dict per way: ``what`` in words, ``backend``, ``batch_size``, and, in milliseconds per clip, ``median``,
        ``low`` and ``high`` (quartiles).
    """
    graph, clip = export_graph(inferencer)
    session = open_session(onnx_bytes(graph, clip, DEFAULT_OPSET)) if 'onnxruntime' in backends else None
    ways: dict[tuple[str, str, int], Callable[[], Any]] = {}
    for size in batch_sizes:
        values = random_batch(graph, clip, size)
        feeds = {name: value.numpy() for name, value in zip(graph.input_names, values, strict=True)}
        if 'torch' in backends:
            ways['model', 'torch', size] = partial(graph, *values)
        if session is not None:
            ways['model', 'onnxruntime', size] = partial(session.run, None, feeds)
    ways['reading: video, audio, log-mels', '', 1] = lambda: inferencer.read(path)
    ways['file to labels, all views', 'torch', 1] = lambda: inferencer.forward(
        inferencer.collate_fn([inferencer.read(path)])
    )
    with torch.inference_mode():
        seconds = time_in_turn(ways, rounds, progress=progress)
    return [
        dict(what=what, backend=backend, batch_size=size, **quartiles([1e3 * one / size for one in taken]))
        for (what, backend, size), taken in seconds.items()
    ]


def latency_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of a table: what, by what, clips at once, milliseconds of a clip with their quartiles."""
    rows: list[tuple[str, ...]] = [('', 'by', 'clips at once', 'ms a clip', 'quartiles')]
    for result in results:
        median, low, high = (milliseconds(result[key] / 1e3) for key in ('median', 'low', 'high'))
        rows.append((result['what'], result['backend'], str(result['batch_size']), median, f'{low} to {high}'))
    return rows
