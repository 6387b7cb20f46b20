"""Checks and classifies the uploads of demo/web_demo.py, and explains the answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mmav.analysis.grad_cam.clips import SeenClip, look
from mmav.datasets.media import BytesFile, MediaInfo, open_media
from mmav.datasets.media.opening import open_container
from mmav.errors import MediaError, MmavError
from mmav.inference import AVInferencer
from mmav.inference.results import Scores
from mmav.visualization.grad_cam import GradCAM

# A visitor's choice -> the modalities that are withheld.
USES: dict[str, tuple[str, ...]] = {'video and audio': (), 'video only': ('audio',), 'audio only': ('video',)}
LARGEST_FRAME = 4096 * 4096  # pixels; decoding takes about six bytes for each
TOPK = 5
Value = TypeVar('Value')


class Limits(NamedTuple):
    """Limits of the page: seconds of a clip, megabytes of a file (of 2^20 bytes), seconds for one answer."""

    seconds: float = 60.0
    megabytes: float = 100.0
    request_seconds: float = 120.0


class UploadError(MmavError):
    """A sentence for the visitor on what is wrong with an upload; it names no files or folders of this machine."""


class BusyError(UploadError):
    """The model works on something else."""


@dataclass
class Answer:
    """The predictions for a clip.

    Attributes:
        path: The file.
        use: The visitor's choice, a key of :data:`USES`.
        predictions: The most probable labels of the whole clip, see :class:`mmav.apis.AVInferencer`.
        spans: Start and end of each window in seconds.
        scores: Part of the label -> probabilities (W, C) of the W windows.
        notes: Sentences on modalities and windows that were missing, withheld or unreadable.
        labels: Those that reach their threshold, of a model that gives several; else None.
        thresholds: Part -> (C,), of such a model.
    """

    path: str
    use: str
    predictions: list[dict[str, Any]]
    spans: list[tuple[float, float]]
    scores: dict[str, np.ndarray]
    notes: list[str]
    labels: list[dict[str, Any]] | None = None
    thresholds: Mapping[str, np.ndarray] | None = None

    def best_window(self, part: str, target: int) -> int:
        """The window with the highest probability of a class."""
        return int(self.scores[part][:, target].argmax())


class Explanation(NamedTuple):
    """Grad-CAM of one window: the model's input, and modality -> map, (V, T, H, W) or (V, F, T)."""

    seen: SeenClip
    maps: dict[str, Tensor]


class PageInferencer(AVInferencer):
    """An inferencer that skips the remaining windows when time is up, and keeps the scores of all classes.

    Args:
        args: As of :class:`mmav.apis.AVInferencer`.
        kwargs: As of :class:`mmav.apis.AVInferencer`.

    Attributes:
        late: Whether a window was skipped because time was up.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, show_progress=False)
        self.start_timer(float('inf'))

    def start_timer(self, seconds: float) -> None:
        """Gives the next calls so many seconds together."""
        self._deadline, self.late = time.monotonic() + seconds, False

    def read(self, source: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads one clip, or a span of it."""
        if time.monotonic() > self._deadline:
            self.late = True
            raise MediaError(str(source), 'time is up')
        return super().read(source, **kwargs)

    def postprocess(self, scores: Scores, *, topk: int | None = 5) -> dict[str, Any]:
        """Probabilities of one window to plain values, with the probabilities themselves as ``scores``."""
        return dict(**super().postprocess(scores, topk=topk), scores=scores)


def check_upload(path: str, limits: Limits) -> MediaInfo:
    """Checks an upload before anything of it is decoded.

    Raises:
        UploadError: It is too large, too long, or not a media file.
    """
    if not os.path.isfile(path):
        raise UploadError('The file is no longer here: please upload it again.')
    size = os.path.getsize(path)
    if size == 0:
        raise UploadError('The file is empty (0 bytes).')
    if size > limits.megabytes * 2**20:
        raise UploadError(f'The file has {size / 2**20:.0f} MB; this page takes {limits.megabytes:g} MB at most.')
    try:
        open_container(path).close()
    except MediaError as error:
        raise UploadError(
            'This is not a video or audio file that can be read. Try mp4, webm, mov, wav or mp3.'
        ) from error
    return check_content(path, limits.seconds)


def check_content(path: str, seconds: float) -> MediaInfo:
    """Checks the length and size of a clip.

    Raises:
        UploadError: It is too long, its frames are too large, or it cannot be read.
    """
    try:
        with open_media(path) as reader:
            info = reader.info
    except MediaError as error:
        raise _in_a_sentence(error) from error
    if info.duration > seconds:
        raise UploadError(
            f'The clip is {info.duration:.1f} s long; this page takes {seconds:g} s at most. Please trim it.'
        )
    if info.width * info.height > LARGEST_FRAME:
        raise UploadError(f'The video has {info.width} x {info.height} pixels, which is too large for this page.')
    return info


class WebDemo:
    """Answers requests one at a time, each within its limits.

    Args:
        inferencer: The model.
        limits: Limits on uploads and answers.
    """

    def __init__(self, inferencer: PageInferencer, limits: Limits | None = None) -> None:
        self.inferencer = inferencer
        self.limits = limits or Limits()
        # The model works on one request at a time, even on one whose visitor was told that time is up.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='mmav-page')
        self._lock, self._asked = threading.Lock(), 0

    @property
    def uses(self) -> list[str]:
        """The choices of :data:`USES` that make sense for the model."""
        known = set(self.inferencer.modalities)
        return [use for use, dropped in USES.items() if not known <= set(dropped) and known >= set(dropped)]

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Part of the label -> names of the classes; numbers if the model has no names."""
        model: Any = self.inferencer.model
        names = self.inferencer.classes or {}
        return {
            part: list(map(str, names.get(part) or range(int(each.num_classes))))
            for part, each in model.head.parts.items()
        }

    def classify(self, path: str | None, use: str) -> Answer:
        """Classifies an upload.

        Raises:
            UploadError: It cannot be classified.
        """
        return self._in_time(lambda: self._classify(path, use))

    def classify_piece(self, piece: BytesFile, use: str, *, seconds: float) -> Answer:
        """Classifies a piece of a recording that goes on, if the model is free.

        Args:
            piece: The piece.
            use: The visitor's choice.
            seconds: The longest piece.

        Raises:
            BusyError: The model is not free.
            UploadError: It cannot be classified.
        """
        if use not in self.uses:
            raise UploadError('Please choose what to use: video, audio or both.')
        return self._in_time(lambda: self._answer(piece, check_content(piece, seconds), use), wait=False)

    def explain(self, answer: Answer, part: str, target: int, *, window: int | None = None) -> Explanation:
        """Grad-CAM for a class, in one window; defaults to the window with the highest probability of the class.

        Raises:
            UploadError: The clip can no longer be read, or the model cannot be explained.
        """
        return self._in_time(lambda: self._explain(answer, part, target, window))

    def _classify(self, path: str | None, use: str) -> Answer:
        if not path:
            raise UploadError('There is no clip yet: upload or record one first.')
        if use not in USES:
            raise UploadError('Please choose what to use: video, audio or both.')
        return self._answer(path, check_upload(path, self.limits), use)

    def _answer(self, path: str, info: MediaInfo, use: str) -> Answer:
        has = {name for name, there in dict(video=info.has_video, audio=info.has_audio).items() if there}
        known = [name for name in self.inferencer.modalities if name not in USES[use]]
        if not has.intersection(known):
            raise UploadError(f'This file has no {" or ".join(known)}, and you chose to use nothing else.')
        drop = [name for name in self.inferencer.modalities if name in USES[use]]
        (result,) = self.inferencer(path, 8, TOPK, drop=drop, errors='report')
        if result['error'] is not None:
            raise self._sentence(MediaError(path, result['error']))
        windows = result['windows']
        return Answer(
            path=path,
            use=use,
            predictions=result['predictions'],
            spans=[(window['start'], window['end']) for window in windows],
            scores={part: np.stack([window['scores'][part] for window in windows]) for part in self.classes},
            notes=self._notes(result),
            labels=result.get('labels'),
            thresholds=self.inferencer.thresholds,
        )

    def _explain(self, answer: Answer, part: str, target: int, window: int | None) -> Explanation:
        span = answer.spans[answer.best_window(part, target) if window is None else window]
        start, end = span if len(answer.spans) > 1 else (None, None)
        try:
            check_upload(answer.path, self.limits)
            seen = look(self.inferencer, answer.path, start=start, end=end)
        except MediaError as error:
            raise self._sentence(error) from error
        for name in USES[answer.use]:
            if name in seen.item['masks']:
                seen.item['masks'][name] = torch.tensor(False)
        batch = self.inferencer.prepare([seen.item])
        maps = GradCAM(self.inferencer.model)(batch['inputs'], batch['masks'], target=target, part=part)
        return Explanation(seen, {name: maps[name][0].cpu() for name, mask in seen.item['masks'].items() if mask})

    def _in_time(self, work: Callable[[], Value], *, wait: bool = True) -> Value:
        """Runs work in the model's thread.

        Decoding cannot be interrupted: a file that takes longer than a request may take keeps the thread busy until its
        window is done; its visitor, and those who come next, are told so.
        """

        def timed() -> Value:
            self.inferencer.start_timer(self.limits.request_seconds)
            return work()

        with self._lock:
            if self._asked and not wait:
                raise BusyError('The model is busy.')
            self._asked += 1
        future = self._worker.submit(timed)
        future.add_done_callback(self._done)
        try:
            return future.result(timeout=1.5 * self.limits.request_seconds)
        except FutureTimeout as error:
            future.cancel()
            raise UploadError('This takes too long here. Please try a shorter or smaller clip, or later.') from error

    def _done(self, _: Any) -> None:
        with self._lock:
            self._asked -= 1

    def _notes(self, result: Mapping[str, Any]) -> list[str]:
        """Sentences on what a prediction is based on."""
        notes = []
        if len(self.inferencer.modalities) > 1:
            basis = f'the prediction is based on the {" and ".join(result["present"])} alone.'
            notes += [f'This file has no {name}; {basis}' for name in result['missing']]
            notes += [f'The {name} was withheld; {basis}' for name in result['withheld']]
            if not notes:
                notes.append('The prediction is based on video and audio together.')
        skipped = result['skipped']
        if skipped:
            reason = f'the {self._time_limit} were over' if self.inferencer.late else skipped[0]['reason']
            notes.append(f'{len(skipped)} of {len(skipped) + len(result["windows"])} parts were skipped: {reason}.')
        return notes

    def _sentence(self, error: MediaError) -> UploadError:
        if self.inferencer.late:
            return UploadError(f'Nothing could be read within the {self._time_limit}.')
        return _in_a_sentence(error)

    @property
    def _time_limit(self) -> str:
        return f'{self.limits.request_seconds:g} s of one request'


def _in_a_sentence(error: MediaError) -> UploadError:
    """The reason in a sentence that names none of this machine's folders."""
    reason = error.reason.replace(error.path, 'the file').replace(os.path.dirname(error.path) or '\0', '')
    return UploadError(f'This file {reason}.')
