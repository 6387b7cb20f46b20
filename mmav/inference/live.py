"""A trained model on a live source: windows of the newest seconds, each with what it says and how late it is."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

from mmav.datasets.media.live import LiveReader, LiveSource, Taken, list_live
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError
from mmav.inference.results import note_window
from mmav.inference.sources import Source


def stream(
    inferencer: Any,
    source: Any,
    *,
    window: float | None = None,
    stride: float | None = None,
    topk: int | None = 5,
    drop: Sequence[str] = (),
    skip: bool = True,
    pace: bool | None = None,
    patience: float = 1.0,
    timeout: float = 10.0,
    retries: int = 5,
    reopen: bool = False,
) -> Generator[dict[str, Any], None, None]:
    """Classifies a live source; see :meth:`mmav.apis.AVInferencer.stream`.

    A thread reads and decodes; it keeps the frames and samples of about one window. A model that is slower than the
    source gets the newest window, and the result says how many were skipped. A modality that is late by ``patience`` is
    masked, as one that a file lacks. A network stream that breaks is opened again; the result after it tells the gap,
    and no window reaches over it. Closing the generator ends the reading.

    Args:
        inferencer: A :class:`mmav.apis.AVInferencer`.
        source: See :func:`mmav.datasets.media.live.sources.list_live`.
        window: Seconds of a window; defaults to the model's.
        stride: Seconds from the start of one window to the next, at most the window's; defaults to it.
        topk: How many labels are returned; None for all.
        drop: Modalities that are withheld from the model.
        skip: Whether windows may be skipped. If not, all are answered, and the source has to wait, which a device does
            not do.
        pace: Whether the source is played at its own speed. None for files and streams that come in pieces or have a
            length, if windows may be skipped. A file that is neither paced nor skipped is read as fast as it goes.
        patience: Seconds that one modality is waited for while the other arrives.
        timeout: Seconds without anything after which a source is given up, or a network stream opened again.
        retries: How often in a row a network stream that broke is opened again, after half a second and then twice as
            long each time.
        reopen: Whether a network stream that ends is opened again, too.

    Yields:
        Plain values: ``start`` and ``end`` in seconds of the stream, from its first frame or sample on;
        ``predictions``, and where there are, ``labels`` and parts, as of files; ``present``, ``missing`` and
        ``withheld`` modalities; ``late``, those that had not arrived in full; ``latency``, seconds from the arrival of
        the window's newest frame or sample to the answer; ``behind``, seconds of the stream that have arrived since the
        window's end; ``skipped_windows`` before this one, and ``dropped_frames`` that lie in no window; ``damaged``
        packets; ``gap``, None or a dict of ``start``, ``end`` and ``reason`` of a break before it; ``error``, None or
        the reason why it has no predictions. A stream that ends within a window gives a last one that ends with it.

    Raises:
        ConfigError: Settings or sources that do not go together.
        MediaError: The source cannot be opened, gives nothing, or breaks for good.
    """
    sources = list_live(source)
    load, length, step = _checked(inferencer, sources, window, stride, skip, pace)
    for name, value in dict(patience=patience, timeout=timeout).items():
        if not value > 0:
            raise ConfigError(f'{name}={value} must be above 0 seconds')
    if retries < 0:
        raise ConfigError(f'retries={retries} must be 0 or more')
    wanted = [name for name in inferencer.modalities if name not in drop]
    reader = LiveReader(
        sources,
        window=length,
        stride=step,
        modalities=wanted,
        short_side=load.short_side,
        limits=load.limits,
        skip=skip,
        pace=pace,
        patience=patience,
        timeout=timeout,
        retries=retries,
        reopen=reopen,
    )
    if not reader.modalities:
        raise ConfigError(f"'{reader.name}' gives no {' and no '.join(wanted)}, and the model reads nothing else")
    return _results(inferencer, reader, topk, drop)


def _checked(
    inferencer: Any,
    sources: Sequence[LiveSource],
    window: float | None,
    stride: float | None,
    skip: bool,
    pace: bool | None,
) -> tuple[LoadClip, float, float]:
    load = next((each for each in inferencer.pipeline.transforms if isinstance(each, LoadClip)), None)
    if load is None:
        raise ConfigError('this pipeline has no LoadClip, which reads video and audio: it cannot be used on a stream')
    length = inferencer.window if window is None else window
    if length is None:
        raise ConfigError('this model looks at clips of any length: say how many seconds of a stream with window')
    step = length if stride is None else stride
    for name, value in dict(window=length, stride=step).items():
        if not value > 0:
            raise ConfigError(f'{name}={value} must be above 0 seconds')
    if step > length:
        raise ConfigError(f'stride={step} is longer than window={length}: parts of the stream would not be looked at')
    for each in sources:
        if not each.waits and not skip:
            raise ConfigError(f"'{each.name}' does not wait for a model: leave out skip=False")
        if not each.waits and pace:
            raise ConfigError(f"'{each.name}' has a pace of its own: leave out pace=True")
    return load, length, step


def _results(
    inferencer: Any, reader: LiveReader, topk: int | None, drop: Sequence[str]
) -> Generator[dict[str, Any], None, None]:
    reader.start()
    try:
        while (taken := reader.take()) is not None:
            yield _result(inferencer, reader, taken, topk, drop)
    finally:
        reader.close()


def _result(inferencer: Any, reader: LiveReader, taken: Taken, topk: int | None, drop: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = dict(present=[], windows=[])
    error = None
    try:
        item = inferencer.read(Source(reader.name, reader=taken.reader), start=taken.start, end=taken.end, drop=drop)
        (scores,) = inferencer.scores([item])
        note_window(result, item, inferencer.postprocess(scores, topk=topk))
    except MediaError as failure:
        error = failure.reason
    said = result['windows'][0] if result['windows'] else dict(predictions=[])
    now = time.monotonic()
    end = taken.offset + taken.end
    return {
        **said,
        'start': taken.offset + taken.start,
        'end': end,
        'present': result['present'],
        'missing': [name for name in inferencer.modalities if name not in (*result['present'], *drop)],
        'withheld': list(drop),
        'late': list(taken.late),
        'latency': round(now - taken.arrival, 6),
        'behind': round(max(0.0, reader.newest - end), 6),
        'skipped_windows': taken.skipped,
        'dropped_frames': taken.dropped,
        'damaged': taken.reader.info.damaged,
        'gap': taken.gap,
        'error': error,
    }
