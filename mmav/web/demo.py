"""What the page of demo/web_demo.py does with an upload: checks it, classifies it, explains the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mmav.analysis.grad_cam.clips import SeenClip, look
from mmav.datasets.media import MediaInfo, open_media
from mmav.datasets.media.opening import open_container
from mmav.errors import MediaError, MmavError
from mmav.inference.inferencer import AVInferencer
from mmav.inference.report import TRACKS
from mmav.visualization.grad_cam import GradCAM

# What is to be used -> what is withheld.
USES: dict[str, tuple[str, ...]] = {'picture and sound': (), 'picture only': ('audio',), 'sound only': ('video',)}
LARGEST_PICTURE = 4096 * 4096  # pixels; decoding a frame takes about six bytes for each
OUT_OF_TIME = 'out of time'
TOPK = 5
Value = TypeVar('Value')


class Limits(NamedTuple):
    """What the page takes: seconds of a clip, megabytes of a file (of 2^20 bytes), seconds for one answer."""

    seconds: float = 60.0
    megabytes: float = 100.0
    request_seconds: float = 120.0


class UploadError(MmavError):
    """What a visitor is told: what is wrong with the upload, in a sentence, without names of files or folders."""


@dataclass
class Answer:
    """What is said of a clip.

    Attributes:
        path: The file.
        use: What was used, a key of :data:`USES`.
        predictions: The most probable labels of the whole clip, see :class:`mmav.apis.AVInferencer`.
        spans: Start and end of each window in seconds.
        scores: Part of the label -> probabilities (W, C) of the W windows.
        notes: Sentences on what was absent, withheld or unreadable.
    """

    path: str
    use: str
    predictions: list[dict[str, Any]]
    spans: list[tuple[float, float]]
    scores: dict[str, np.ndarray]
    notes: list[str]

    def best_window(self, part: str, target: int) -> int:
        """The window that speaks most for a class."""
        return int(self.scores[part][:, target].argmax())


class Explanation(NamedTuple):
    """Grad-CAM of one window: what the model was given, and modality -> map, (V, T, H, W) or (V, F, T)."""

    seen: SeenClip
    maps: dict[str, Tensor]


class PageInferencer(AVInferencer):
    """An inferencer that passes over the windows that are left when time is up, and keeps the scores of all classes.

    Args:
        args: As of :class:`mmav.apis.AVInferencer`.
        kwargs: As of :class:`mmav.apis.AVInferencer`.
    """

    deadline = float('inf')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, show_progress=False)

    def read(self, source: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads one clip, or a span of it."""
        if time.monotonic() > self.deadline:
            raise MediaError(str(source), OUT_OF_TIME)
        return super().read(source, **kwargs)

    def postprocess(self, preds: Any, visualization: Any = None, return_datasample: bool = False, **kwargs: Any) -> Any:
        """Probabilities of one window to plain values; the probabilities themselves stand beside them as ``scores``."""
        return dict(**super().postprocess(preds, **kwargs), scores=preds)


def check_upload(path: str, limits: Limits) -> MediaInfo:
    """Looks at an upload before anything of it is decoded.

    Raises:
        UploadError: It is too large or too long, or nothing that can be played.
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
        raise UploadError('This is no video or sound file that can be read: try mp4, webm, mov, wav or mp3.') from error
    try:
        with open_media(path) as reader:
            info = reader.info
    except MediaError as error:
        raise _sentence(error) from error
    if info.duration > limits.seconds:
        raise UploadError(
            f'The clip is {info.duration:.1f} s long; this page takes {limits.seconds:g} s at most. Please cut it.'
        )
    if info.width * info.height > LARGEST_PICTURE:
        raise UploadError(f'The picture has {info.width} x {info.height} pixels, which is too large for this page.')
    return info


class WebDemo:
    """Answers requests one at a time, each within its limits.

    Args:
        inferencer: The model.
        limits: What is taken.
    """

    def __init__(self, inferencer: PageInferencer, limits: Limits | None = None) -> None:
        self.inferencer = inferencer
        self.limits = limits or Limits()
        # The model works on one request at a time, also when one goes on after its visitor was told that time is up.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='mmav-page')

    @property
    def uses(self) -> list[str]:
        """The choices of :data:`USES` that make sense for the model."""
        known = set(self.inferencer.modalities)
        return [use for use, dropped in USES.items() if not known <= set(dropped) and known >= set(dropped)]

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Part of the label -> names of the classes; numbers where the model brings none."""
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

    def explain(self, answer: Answer, part: str, target: int, *, window: int | None = None) -> Explanation:
        """Grad-CAM for a class: in the window given, else in the one that speaks most for it.

        Raises:
            UploadError: The clip cannot be read any more, or the model cannot be explained.
        """
        return self._in_time(lambda: self._explain(answer, part, target, window))

    def _classify(self, path: str | None, use: str) -> Answer:
        if not path:
            raise UploadError('There is no clip yet: upload or record one first.')
        if use not in USES:
            raise UploadError('Please choose what is to be used: picture, sound or both.')
        info = check_upload(path, self.limits)
        has = {name for name, there in dict(video=info.has_video, audio=info.has_audio).items() if there}
        known = [name for name in self.inferencer.modalities if name not in USES[use]]
        if not has.intersection(known):
            words = ' or '.join(TRACKS[name] for name in known)
            raise UploadError(f'This file has no {words}, and nothing else was to be used.')
        drop = [name for name in self.inferencer.modalities if name in USES[use]]
        (result,) = self.inferencer(path, 8, TOPK, drop=drop, errors='report')
        if result['error'] is not None:
            raise _sentence(MediaError(path, result['error']), self.limits)
        windows = result['windows']
        return Answer(
            path=path,
            use=use,
            predictions=result['predictions'],
            spans=[(window['start'], window['end']) for window in windows],
            scores={part: np.stack([window['scores'][part] for window in windows]) for part in self.classes},
            notes=_notes(result, self.inferencer.modalities, self.limits),
        )

    def _explain(self, answer: Answer, part: str, target: int, window: int | None) -> Explanation:
        span = answer.spans[answer.best_window(part, target) if window is None else window]
        start, end = span if len(answer.spans) > 1 else (None, None)
        try:
            check_upload(answer.path, self.limits)
            seen = look(self.inferencer, answer.path, start=start, end=end)
        except MediaError as error:
            raise _sentence(error, self.limits) from error
        for name in USES[answer.use]:
            if name in seen.item['masks']:
                seen.item['masks'][name] = torch.tensor(False)
        batch = self.inferencer.prepare([seen.item])
        maps = GradCAM(self.inferencer.model)(batch['inputs'], batch['masks'], target=target, part=part)
        return Explanation(seen, {name: maps[name][0].cpu() for name, mask in seen.item['masks'].items() if mask})

    def _in_time(self, work: Callable[[], Value]) -> Value:
        """Runs work in the model's thread.

        Decoding cannot be interrupted: a file that takes longer than a request may keeps the thread until its window
        is done, while its visitor, and those who come next, are told so.
        """

        def timed() -> Value:
            self.inferencer.deadline = time.monotonic() + self.limits.request_seconds
            return work()

        future = self._worker.submit(timed)
        try:
            return future.result(timeout=1.5 * self.limits.request_seconds)
        except FutureTimeout as error:
            future.cancel()
            raise UploadError('This takes too long here. Please try a shorter or smaller clip, or later.') from error


def _notes(result: Mapping[str, Any], modalities: Sequence[str], limits: Limits) -> list[str]:
    """Sentences on what a prediction rests on."""
    notes = []
    if len(modalities) > 1:
        alone = ' and '.join(TRACKS[name] for name in result['present'])
        for name in result['missing']:
            notes.append(f'This file has no {TRACKS[name]}; the {alone} alone decides.')
        for name in result['withheld']:
            notes.append(f'The {TRACKS[name]} was withheld; the {alone} alone decides.')
        if not notes:
            notes.append('Picture and sound decide together.')
    skipped = result['skipped']
    if skipped:
        total = len(skipped) + len(result['windows'])
        late = any(window['reason'] == OUT_OF_TIME for window in skipped)
        reason = f'the time for one request, {limits.request_seconds:g} s, was over' if late else skipped[0]['reason']
        notes.append(f'{len(skipped)} of {total} parts of the clip were left out: {reason}.')
    return notes


def _sentence(error: MediaError, limits: Limits | None = None) -> UploadError:
    """A reason in words that tell nothing of this machine's folders."""
    if error.reason == OUT_OF_TIME and limits is not None:
        return UploadError(f'Nothing could be read within the time for one request, {limits.request_seconds:g} s.')
    reason = error.reason.replace(error.path, 'the file').replace(os.path.dirname(error.path) or '\0', '')
    return UploadError(f'This file {reason}.')
