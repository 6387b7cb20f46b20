"""A clip on its way to an answer, which threads that read and the model's thread work on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from mmav.inference.results import Scores, new_result
from mmav.serving.limits import Refusal
from mmav.serving.reading import ClipJob


class ClipRequest:
    """A clip on its way to an answer.

    Args:
        job: The clip.
        seconds: After which nobody waits for it any more.
        topk: Labels of the answer; None for all.
        threshold: Of a model that gives several labels; None for the model's own.

    Attributes:
        answer: Future of what :meth:`mmav.apis.AVInferencer.__call__` gives of a clip; or the :class:`Refusal`.
    """

    def __init__(self, job: ClipJob, *, seconds: float, topk: int | None = 5, threshold: float | None = None) -> None:
        self.job, self.topk, self.threshold = job, topk, threshold
        self.deadline = time.monotonic() + seconds
        self.answer: Future[dict[str, Any]] = Future()
        self.result = new_result('', job.drop)
        self._lock = threading.Lock()
        self._missing, self._read = 0, False
        self.windows: dict[int, tuple[dict[str, Any], Scores]] = {}

    def drop(self) -> None:
        """Tells all who work on it that nobody waits for it any more."""
        self.refuse('timeout', 'The request was dropped.')

    def gone(self) -> bool:
        """Whether nobody waits for it any more, or its time is up."""
        return self.answer.done() or time.monotonic() > self.deadline

    def refuse(self, code: str, message: str) -> None:
        """Answers with an error, unless there is an answer."""
        with self._lock:
            if not self.answer.done():
                self.answer.set_exception(Refusal(code, message))

    def expect(self) -> int:
        """Counts one more window that will get scores; returns its number."""
        with self._lock:
            self._missing += 1
            return self._missing + len(self.windows) - 1

    def scored(self, number: int, message: Mapping[str, Any], scores: Scores | Exception) -> bool:
        """Notes the scores of a window; returns whether they were the last ones."""
        if isinstance(scores, Exception) or not all(np.isfinite(each).all() for each in scores.values()):
            self.refuse('internal', 'The model failed on this clip.')
            return False
        with self._lock:
            self._missing -= 1
            # the inputs are not needed any more
            light = dict(masks=message['item']['masks'], data_samples=message['item']['data_samples'])
            self.windows[number] = light, scores
            return self._read and not self._missing

    def all_read(self) -> bool:
        """Notes that no more windows will come; returns whether all have scores."""
        with self._lock:
            self._read = True
            return not self._missing

    def finish(self, result: dict[str, Any]) -> None:
        """Answers, unless there is an answer."""
        with self._lock:
            if not self.answer.done():
                self.answer.set_result(result)
