"""How long a model takes for a clip: in PyTorch, in onnxruntime, and from the file to the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks.rounds import quartiles, time_in_turn
from mmav.deployment.onnx_export import DEFAULT_OPSET, export_graph, onnx_bytes, open_session, random_batch
from mmav.inference import AVInferencer

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
    """Times a model on the CPU, the ways to run it in turn within each round, after a round that does not count.

    Args:
        inferencer: Model and test pipeline, on the CPU.
        path: A media file, for the ways that begin with one.
        backends: Of 'torch' (inference mode) and 'onnxruntime' (the exported model); both run the same graph, one view
            of each modality, normalisation included, on the same numbers.
        batch_sizes: Clips at once.
        rounds: How often each way is timed.
        progress: Whether to show a progress bar.

    Returns:
        One dict a way: ``what`` in words, ``backend``, ``batch_size``, and of the milliseconds of one clip ``median``,
        ``low`` and ``high`` (quartiles).
    """
    graph, clip = export_graph(inferencer)
    session = None
    if 'onnxruntime' in backends:
        session = open_session(onnx_bytes(graph, clip, DEFAULT_OPSET))
    ways: dict[tuple[str, str, int], Callable[[], Any]] = {}
    for size in batch_sizes:
        values = random_batch(graph, clip, size)
        feeds = {name: value.numpy() for name, value in zip(graph.input_names, values, strict=True)}
        if 'torch' in backends:
            ways['model', 'torch', size] = lambda values=values: graph(*values)  # type: ignore[misc]
        if session is not None:
            ways['model', 'onnxruntime', size] = lambda feeds=feeds: session.run(None, feeds)  # type: ignore[misc]
    ways['reading: picture, sound, log-mels', '', 1] = lambda: inferencer.read(path)
    ways['file to labels, all views', 'torch', 1] = lambda: inferencer.forward(
        inferencer.collate_fn([inferencer.read(path)])
    )
    with torch.inference_mode():
        seconds = time_in_turn(ways, rounds, progress=progress)
    return [
        dict(
            what=what,
            backend=backend,
            batch_size=size,
            **quartiles([1e3 * s / size for s in seconds[what, backend, size]]),
        )
        for what, backend, size in ways
    ]


def latency_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of a table: what, with what, clips at once, milliseconds of a clip with their quartiles."""
    rows: list[tuple[str, ...]] = [('', 'by', 'clips at once', 'ms a clip', 'quartiles')]
    for result in results:
        span = f'{_ms(result["low"])} to {_ms(result["high"])}'
        rows.append((result['what'], result['backend'], str(result['batch_size']), _ms(result['median']), span))
    return rows


def _ms(value: float) -> str:
    return f'{value:.0f}' if value >= 100 else f'{value:.1f}'
