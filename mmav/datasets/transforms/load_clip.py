"""From a manifest row to frames and waveform: which window of a clip is read, and which frames of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.media import (
    READERS,
    Limits,
    MediaReader,
    PairPath,
    check_backend,
    decoding_options,
    open_media,
)
from mmav.errors import AbsentError, ConfigError, MediaError, did_you_mean
from mmav.mel import FRAME_LENGTH_MS
from mmav.registry import TRANSFORMS

MODES = ('random', 'uniform')


def choose_window(
    start: float, end: float, *, window: float | None = None, rng: np.random.Generator | None = None
) -> tuple[float, float]:
    """Chooses a part of a span.

    Args:
        start: Start of the span in seconds.
        end: End of the span in seconds.
        window: Length of the part in seconds; None for the whole span. A shorter span is taken whole.
        rng: Chooses the position; None for the middle.

    Returns:
        Start and end of the part in seconds.
    """
    spare = 0.0 if window is None else end - start - window
    if window is None or spare <= 0:
        return start, end
    begin = start + spare * (0.5 if rng is None else rng.random())
    return begin, begin + window


def spread_windows(start: float, end: float, number: int, length: float) -> list[tuple[float, float]]:
    """Windows of one length, spread evenly over a span; those of a shorter span are all of it.

    Args:
        start: Start of the span in seconds.
        end: End of the span in seconds.
        number: Of windows.
        length: Of a window in seconds.

    >>> spread_windows(0.0, 10.0, 3, 4.0)
    [(0.0, 4.0), (3.0, 7.0), (6.0, 10.0)]
    """
    begins = np.linspace(start, max(start, end - length), number)
    return [(float(begin), float(min(end, begin + length))) for begin in begins]


def sample_times(
    start: float,
    end: float,
    num_frames: int,
    *,
    num_views: int = 1,
    frame_interval: float | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Chooses the times of the frames of each view.

    Without an interval the window is divided into T segments and each view takes one time from each: at random, or view
    v of V at (v + 0.5) / V of the segment, which is its centre for one view. With an interval each view has T times at
    that distance: from a random start, or with the views spread evenly from the window's start to its end. If the
    window is too short, its end is repeated.

    Args:
        start: Start of the window in seconds.
        end: End of the window in seconds.
        num_frames: T.
        num_views: V.
        frame_interval: Seconds between two frames of a view.
        rng: Chooses at random; None chooses evenly.

    Returns:
        Times (V, T) in seconds, ascending within a view.

    >>> sample_times(0.0, 4.0, 4)
    array([[0.5, 1.5, 2.5, 3.5]])
    >>> sample_times(0.0, 4.0, 4, num_views=2, frame_interval=0.5)
    array([[0. , 0.5, 1. , 1.5],
           [2. , 2.5, 3. , 3.5]])
    """
    steps = np.arange(num_frames)
    if frame_interval is None:
        even = np.repeat((np.arange(num_views)[:, None] + 0.5) / num_views, num_frames, axis=1)
        inside = even if rng is None else rng.random((num_views, num_frames))
        return start + (steps + inside) * (end - start) / num_frames
    spare = max(0.0, end - start - frame_interval * num_frames)
    if rng is not None:
        begins = rng.random(num_views) * spare
    else:
        begins = np.linspace(0.0, spare, num_views) if num_views > 1 else np.array([spare / 2])
    return np.minimum(start + begins[:, None] + steps * frame_interval, end)


@TRANSFORMS.register_module()
class LoadClip(BaseTransform):
    """Reads video and audio of one window of a clip, or of several; opens the file only once.

    Takes ``path``, ``start``, ``end``, ``modalities``, ``rng`` and ``broken``; ``dropped``, modalities to withhold, and
    ``dropout``, modalities to withhold if the clip has another one; ``reader``, an open
    :class:`mmav.datasets.media.MediaReader` to use instead of the file, which is closed afterwards. Adds

    - ``video``: list of V arrays (T, H, W, 3) uint8 RGB, the displayed frames nearest to the chosen times; of several
      windows V views each, in their order;
    - ``audio``: list of an array (S,) float32 per window, mono, of exactly the window;
    - ``masks``: dict, modality -> whether it is present; absent and withheld modalities are zeros;
    - ``sample_rate``: that of the audio;
    - ``start``, ``end``: the window in seconds of the file, or from the first one's start to the last one's end;
    - ``frame_times``: true times (V, T) of the frames in seconds of the file;
    - ``damaged``: how many packets could not be decoded; the data around them was read.

    Decodes only modalities that are requested and not withheld. A clip marked as broken gives zeros and False masks.

    Video is present if at least one of its frames can be decoded; audio if the window holds at least 25 ms of it, one
    analysis frame. Silence counts as audio. A clip that has neither is broken. A modality that is missing from one
    window only is taken from the nearest window that has it.

    Args:
        num_frames: T.
        frame_interval: Seconds between two frames; None spreads them over the window.
        num_views: V.
        same_window: Whether all views share the same frames, which are read once, so that only later random transforms
            make them differ; otherwise each view has its own frames. All views of a window share its audio.
        num_windows: How many windows are read in testing, spread evenly from the clip's start to its end, each with its
            own ``num_views`` views of frames and its own audio; of a clip no longer than ``window`` all are the same.
        mode: 'random' draws window and frames from ``rng`` (training), 'uniform' spreads them evenly (testing).
        short_side: Short side of the frames in pixels, scaled while decoding; None keeps the file's size.
        window: Length of the window in seconds; None for the whole clip.
        sample_rate: Samples per second of the audio.
        backend: 'pyav'; or 'decord' or 'torchcodec', which decode video, with the audio by PyAV (docs/readers.md).
        threads: Threads of the video decoder; 1 is best with a worker per core.
        decode_device: 'cpu'; or 'cuda' to decode large frames by NVDEC, with ``backend='torchcodec'``, in the main
            process or in workers that were spawned.
        gpu_pixels: Frames of fewer pixels are decoded on the CPU all the same; None for 1920 x 1080.
        limits: What reading a file may cost, arguments of :class:`mmav.datasets.media.Limits` such as
            ``dict(seconds=300)``; None for the usual limits.

    Raises:
        ValueError: An argument is invalid; a ConfigError for ``same_window`` in testing, and for several windows
            without a length or in training.
        MediaError: The file cannot be read.
        AbsentError: It has none of the requested modalities.
    """

    def __init__(
        self,
        num_frames: int = 16,
        frame_interval: float | None = None,
        *,
        num_views: int = 1,
        same_window: bool = False,
        num_windows: int = 1,
        mode: str = 'random',
        short_side: int | None = None,
        window: float | None = None,
        sample_rate: int = 16000,
        backend: str = 'pyav',
        threads: int = 1,
        decode_device: str = 'cpu',
        gpu_pixels: int | None = None,
        limits: dict[str, Any] | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f'mode {mode!r} is unknown: choose {" or ".join(MODES)}{did_you_mean(mode, MODES)}')
        counts = dict(num_frames=num_frames, num_views=num_views, num_windows=num_windows)
        counts.update(sample_rate=sample_rate, threads=threads)
        lengths = dict(frame_interval=frame_interval, window=window, short_side=short_side)
        for name, value in {**counts, **lengths}.items():
            if value is not None and value <= 0:
                raise ValueError(f'{name} must be above 0, got {value}')
        if same_window and mode != 'random':
            raise ConfigError(
                f'same_window=True with mode={mode!r} gives identical views in testing: leave same_window out, or use '
                "mode='random'"
            )
        if num_windows > 1 and (mode != 'uniform' or window is None):
            what = f'mode={mode!r}: they are for testing' if mode != 'uniform' else 'no length: give window in seconds'
            raise ConfigError(f'num_windows={num_windows} with {what}')
        check_backend(backend)
        self.decoding = decoding_options(backend, decode_device, gpu_pixels)
        self.num_frames = num_frames
        self.frame_interval = frame_interval
        self.num_views = num_views
        self.same_window = same_window
        self.num_windows = num_windows
        self.mode = mode
        self.short_side = short_side
        self.window = window
        self.sample_rate = sample_rate
        self.backend = backend
        self.threads = threads
        self.limits = Limits(**(limits or {}))

    @property
    def deterministic(self) -> bool:
        """Where it draws nothing."""
        return self.mode == 'uniform'

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reads the clip."""
        results['masks'], results['sample_rate'] = {}, self.sample_rate
        if results['broken'] is not None:
            for modality in results['modalities']:
                self._fill(results, modality, None)
            return results
        rng = results['rng'] if self.mode == 'random' else None
        opened: MediaReader | None = results.pop('reader', None)
        dropped, dropout = results.get('dropped', ()), results.get('dropout', ())
        with opened or self._open(results['path']) as reader:
            spans = self._windows(reader, results['start'], results['end'], rng)
            results['start'], results['end'] = spans[0][0], spans[-1][1]
            wanted = [modality for modality in results['modalities'] if modality not in (*dropped, *dropout)]
            found = self._read_windows(reader, wanted, spans, rng)
            if not found:
                # The modality to keep is missing from the file: keep the other one.
                found = self._read_windows(reader, [name for name in dropout if name not in dropped], spans, rng)
            for modality in results['modalities']:
                self._fill(results, modality, found.get(modality))
            results['damaged'] = reader.info.damaged
        if not any(results['masks'].values()):
            asked = [modality for modality in results['modalities'] if modality not in dropped]
            if reader.info.has_audio:
                asked = [f'{name} of {FRAME_LENGTH_MS:g} ms or more' if name == 'audio' else name for name in asked]
            raise AbsentError(results['path'], f'has no {" and no ".join(asked)}, and nothing else is requested')
        return results

    def _open(self, path: str) -> MediaReader:
        if isinstance(path, PairPath):
            return open_media(path, backend=self.backend, threads=self.threads, limits=self.limits, **self.decoding)
        return READERS[self.backend](path, threads=self.threads, limits=self.limits, **self.decoding)

    def _windows(
        self, reader: MediaReader, start: float | None, end: float | None, rng: np.random.Generator | None
    ) -> list[tuple[float, float]]:
        """The parts of the clip to read, within what the file holds; a single one is fetched."""
        begin = start or 0.0
        for _ in range(2):
            duration = reader.info.duration
            stop = duration if end is None else min(end, duration)
            if stop > begin:
                if self.num_windows == 1 or self.window is None:
                    spans = [choose_window(begin, stop, window=self.window, rng=rng)]
                else:
                    spans = spread_windows(begin, stop, self.num_windows, self.window)
                # The header may be wrong about the length; the second iteration then has the true one.
                first, last = reader.fetch(*spans[-1])
                if last > first:
                    return [*spans[:-1], (first, last)]
        raise MediaError(
            reader.info.path, f'the clip starts at {begin:g} s, but the file ends at {reader.info.duration:g} s'
        )

    def _read_windows(
        self,
        reader: MediaReader,
        modalities: Sequence[str],
        spans: Sequence[tuple[float, float]],
        rng: np.random.Generator | None,
    ) -> dict[str, dict[str, Any]]:
        """Reads the modalities that the file has, of all windows."""
        read: dict[str, list[dict[str, Any] | None]] = {modality: [] for modality in modalities}
        for span in spans:
            if len(spans) > 1:
                reader.fetch(*span)
            for modality in modalities:
                read[modality].append(self._read(reader, modality, span, rng))
        return {modality: _joined(each) for modality, each in read.items() if any(each)}

    def _read(
        self, reader: MediaReader, modality: str, span: tuple[float, float], rng: np.random.Generator | None
    ) -> dict[str, Any] | None:
        """Reads a modality of a window; None if the file has none of it."""
        if modality == 'audio':
            return self._read_audio(reader, *span) if reader.info.has_audio else None
        if not reader.info.has_video:
            return None
        views, interval = 1 if self.same_window else self.num_views, self.frame_interval
        times = sample_times(*span, self.num_frames, num_views=views, frame_interval=interval, rng=rng)
        frames, true_times = reader.read_frames(times.reshape(-1), short_side=self.short_side)
        video, view_times = frames.reshape(*times.shape, *frames.shape[1:]), true_times.reshape(times.shape)
        repeats = self.num_views // views
        return dict(
            video=[view for view in video for _ in range(repeats)], frame_times=np.repeat(view_times, repeats, axis=0)
        )

    def _read_audio(self, reader: MediaReader, start: float, end: float) -> dict[str, Any] | None:
        wave = reader.read_audio(start, end, self.sample_rate)
        if wave is None:
            return None
        # A reader that does not say how much of the window is in the file is assumed to have all of it.
        first, last = getattr(reader, 'heard', None) or (start, end)
        heard = min(len(wave), round((last - first) * self.sample_rate))
        return dict(audio=[wave]) if heard >= int(self.sample_rate * FRAME_LENGTH_MS * 0.001) else None

    def _fill(self, results: dict[str, Any], modality: str, found: dict[str, Any] | None) -> None:
        """Stores what was read; absent modalities are zeros, which later transforms bring to the right size."""
        results['masks'][modality] = found is not None
        if found is None and modality == 'video':
            side = self.short_side or 224
            views = self.num_views * self.num_windows
            found = dict(video=[np.zeros((self.num_frames, side, side, 3), np.uint8) for _ in range(views)])
        results.update(found or dict(audio=[np.zeros(self.sample_rate, np.float32) for _ in range(self.num_windows)]))


def _joined(windows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """What was read of several windows, one after another; a window without it repeats the nearest that has it."""
    there = [k for k, found in enumerate(windows) if found is not None]
    whole: list[Any] = [windows[min(there, key=lambda other: abs(other - k))] for k in range(len(windows))]
    joined: dict[str, Any] = {}
    for name in whole[0]:
        values = [found[name] for found in whole]
        joined[name] = np.concatenate(values) if name == 'frame_times' else [view for each in values for view in each]
    return joined
