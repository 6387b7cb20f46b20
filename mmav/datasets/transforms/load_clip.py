"""From a manifest row to frames and waveform."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.media import Limits, MediaReader, check_backend, open_media
from mmav.errors import ConfigError, MediaError, did_you_mean
from mmav.registry import TRANSFORMS

from .log_mel import FRAME_LENGTH_MS
from .sample_frames import MODES, choose_window, sample_times

TRACKS = dict(video='picture', audio='sound')


@TRANSFORMS.register_module()
class LoadClip(BaseTransform):
    """Reads frames and sound of one window of a clip; the file is opened once and read once.

    Takes ``path``, ``start``, ``end``, ``modalities``, ``rng`` and ``broken``; ``dropped``, modalities that are
    withheld, and ``dropout``, modalities that are withheld where the clip has another one; ``reader``, an open
    :class:`mmav.datasets.media.MediaReader` in place of the file, which is closed. Gives

    - ``video``: list of V arrays (T, H, W, 3) uint8 RGB, the displayed frames nearest to the chosen times;
    - ``audio``: list of one array (S,) float32, mono, the sound of exactly the window;
    - ``masks``: dict, modality -> whether it is there; what the file has not, or what is withheld, is zeros;
    - ``start``, ``end``: the window in seconds of the file;
    - ``frame_times``: true times (V, T) of the frames in seconds of the file;
    - ``damaged``: how many packets could not be decoded; what is around them was read.

    Only what is asked for and not withheld is decoded. A clip marked as broken gives zeros and masks of False.

    What counts as present: a picture where one of its frames can be decoded; sound where the window holds at least
    25 ms of it, one frame of analysis, silent or not: silence is data. A clip that has neither is broken.

    Args:
        num_frames: T.
        frame_interval: Seconds between two frames; None spreads them over the window.
        num_views: V.
        same_window: Whether all views are of the same frames, which are then read once and shared, so that the random
            transforms that follow make the views; else each view has its own. The sound has one window in any case.
        mode: 'random' draws window and frames from ``rng`` (training), 'uniform' takes them evenly (testing).
        short_side: Short side of the frames in pixels, scaled while decoding; None keeps the file's size.
        window: Length of the window in seconds; None for the whole clip.
        sample_rate: Samples per second of the sound.
        backend: 'pyav' or 'decord' (pictures only).
        threads: Threads of the picture decoder; 1 suits a worker per core.
        limits: What reading a file may cost, arguments of :class:`mmav.datasets.media.Limits` such as
            ``dict(seconds=300)``; None for the usual limits.

    Raises:
        ValueError: An argument makes no sense; of ``same_window`` in testing a ConfigError.
        MediaError: The file cannot be read, or has nothing of what is asked for.
    """

    def __init__(
        self,
        num_frames: int = 16,
        frame_interval: float | None = None,
        *,
        num_views: int = 1,
        same_window: bool = False,
        mode: str = 'random',
        short_side: int | None = None,
        window: float | None = None,
        sample_rate: int = 16000,
        backend: str = 'pyav',
        threads: int = 1,
        limits: dict[str, Any] | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f'mode {mode!r} is none of {", ".join(MODES)}{did_you_mean(mode, MODES)}')
        counts = dict(num_frames=num_frames, num_views=num_views, sample_rate=sample_rate, threads=threads)
        lengths = dict(frame_interval=frame_interval, window=window, short_side=short_side)
        for name, value in {**counts, **lengths}.items():
            if value is not None and value <= 0:
                raise ValueError(f'{name} must be above 0, got {value}')
        if same_window and mode != 'random':
            raise ConfigError(
                f'same_window=True with mode={mode!r} gives views that are the same in testing, too: leave same_window '
                "out, or take mode='random'"
            )
        check_backend(backend)
        self.num_frames = num_frames
        self.frame_interval = frame_interval
        self.num_views = num_views
        self.same_window = same_window
        self.mode = mode
        self.short_side = short_side
        self.window = window
        self.sample_rate = sample_rate
        self.backend = backend
        self.threads = threads
        self.limits = Limits(**(limits or {}))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reads the clip."""
        results['masks'] = {}
        if results['broken'] is not None:
            for modality in results['modalities']:
                self._blank(results, modality)
            return results
        rng = results['rng'] if self.mode == 'random' else None
        opened = results.pop('reader', None)
        settings: Any = dict(backend=self.backend, threads=self.threads, limits=self.limits)
        with opened or open_media(results['path'], **settings) as reader:
            start, end = self._window(reader, results['start'], results['end'], rng)
            results['start'], results['end'] = start, end
            dropped, dropout = results.get('dropped', ()), results.get('dropout', ())
            for modality in results['modalities']:
                self._read(results, reader, rng, modality, withheld=modality in (*dropped, *dropout))
            if not any(results['masks'].values()):
                # The one that was to stay is not in the file: better the other than nothing.
                for modality in dropout:
                    self._read(results, reader, rng, modality, withheld=modality in dropped)
            results['damaged'] = reader.info.damaged
        if not any(results['masks'].values()):
            asked = [TRACKS[modality] for modality in results['modalities'] if modality not in dropped]
            if reader.info.has_audio:
                asked = [f'{name} of {FRAME_LENGTH_MS:g} ms or more' if name == 'sound' else name for name in asked]
            raise MediaError(results['path'], f'has no {" and no ".join(asked)}, and nothing else is asked for')
        return results

    def _read(
        self,
        results: dict[str, Any],
        reader: MediaReader,
        rng: np.random.Generator | None,
        modality: str,
        *,
        withheld: bool,
    ) -> None:
        read = {'video': self._read_video, 'audio': self._read_audio}[modality]
        if withheld or not read(results, reader, rng):
            self._blank(results, modality)

    def _window(
        self, reader: MediaReader, start: float | None, end: float | None, rng: np.random.Generator | None
    ) -> tuple[float, float]:
        """The part of the clip to read, within what the file holds."""
        begin = start or 0.0
        for _ in range(2):
            duration = reader.info.duration
            stop = duration if end is None else min(end, duration)
            if stop > begin:
                # The header may be wrong about the length; then the second round knows better.
                first, last = reader.fetch(*choose_window(begin, stop, window=self.window, rng=rng))
                if last > first:
                    return first, last
        raise MediaError(
            reader.info.path, f'the clip starts at {begin:g} s, but the file ends at {reader.info.duration:g} s'
        )

    def _read_video(self, results: dict[str, Any], reader: MediaReader, rng: np.random.Generator | None) -> bool:
        if not reader.info.has_video:
            return False
        times = sample_times(
            results['start'],
            results['end'],
            self.num_frames,
            num_views=1 if self.same_window else self.num_views,
            frame_interval=self.frame_interval,
            rng=rng,
        )
        frames, true_times = reader.read_frames(times.reshape(-1), short_side=self.short_side)
        views, view_times = frames.reshape(*times.shape, *frames.shape[1:]), true_times.reshape(times.shape)
        repeats = self.num_views // len(views)
        results['video'] = [view for view in views for _ in range(repeats)]
        results['frame_times'] = np.repeat(view_times, repeats, axis=0)
        results['masks']['video'] = True
        return True

    def _read_audio(self, results: dict[str, Any], reader: MediaReader, rng: np.random.Generator | None) -> bool:
        if not reader.info.has_audio:
            return False
        wave = reader.read_audio(results['start'], results['end'], self.sample_rate)
        if wave is None or self._heard_samples(reader, wave) < int(self.sample_rate * FRAME_LENGTH_MS * 0.001):
            return False
        results['audio'] = [wave]
        results['masks']['audio'] = True
        return True

    def _heard_samples(self, reader: MediaReader, wave: np.ndarray) -> int:
        """How many of the window's samples are in the file; a reader that does not tell has all of them."""
        heard = getattr(reader, 'heard', None)
        return len(wave) if heard is None else min(len(wave), round((heard[1] - heard[0]) * self.sample_rate))

    def _blank(self, results: dict[str, Any], modality: str) -> None:
        """Zeros in the place of what is absent; later transforms bring them to the right size."""
        results['masks'][modality] = False
        if modality == 'video':
            side = self.short_side or 224
            results['video'] = [np.zeros((self.num_frames, side, side, 3), np.uint8) for _ in range(self.num_views)]
        else:
            results['audio'] = [np.zeros(self.sample_rate, np.float32)]
