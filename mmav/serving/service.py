"""The work behind the endpoint: a bounded queue, processes that read, a model that takes windows of all requests."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import Any

import numpy as np

from mmav import __version__
from mmav.errors import MmavError
from mmav.inference import AVInferencer
from mmav.inference.results import Scores, finish_result, note_window, predictions_of
from mmav.serving.batching import Batcher, Window
from mmav.serving.clip_request import ClipRequest
from mmav.serving.limits import Refusal, ServeLimits
from mmav.serving.metrics import Counter, Gauge, Histogram
from mmav.serving.reading import ClipJob, ReaderSettings
from mmav.serving.workers import ReaderLost, ReaderPool, ReaderProcess

MOST_LABELS = 50_000  # of one answer, over all windows
_RESIDENT = '/proc/{}/statm'


class ClipService:
    """Classifies clips for many clients.

    Args:
        inferencer: The model.
        limits: What a request may cost.
        workers: Processes that read.
        batch_size: Windows of a batch.
        batch_wait: Seconds that a window waits for others.

    Attributes:
        stopping: Whether new requests are refused.
        metrics: What is counted.
    """

    def __init__(
        self,
        inferencer: AVInferencer,
        limits: ServeLimits | None = None,
        *,
        workers: int = 2,
        batch_size: int = 8,
        batch_wait: float = 0.005,
    ) -> None:
        self.inferencer, self.limits, self.workers = inferencer, limits or ServeLimits(), workers
        self.stopping, self._started = False, False
        self._waiting: queue.Queue[ClipRequest | None] = queue.Queue()
        settings = ReaderSettings(
            pipeline=inferencer.pipeline,
            modalities=inferencer.modalities,
            seconds=self.limits.seconds,
            windows=self.limits.windows,
            megabytes=self.limits.worker_megabytes,
        )
        self.ended = Counter('mmav_reader_ends_total', 'Reading processes that were replaced, by cause', ['cause'])
        self.batches = Histogram('mmav_batch_windows', 'Windows of a batch', (1, 2, 4, 8, 16, 32, 64))
        self.model_seconds = Histogram('mmav_model_seconds', 'Seconds of the model for a batch')
        self.clip_seconds = Histogram('mmav_clip_seconds', 'Seconds from the end of an upload to the answer')
        self.metrics: list[Counter | Gauge | Histogram] = [
            self.ended,
            self.batches,
            self.model_seconds,
            self.clip_seconds,
            Gauge('mmav_queue_clips', 'Clips that wait for a reading process', self._waiting.qsize),
            Gauge('mmav_ready', 'Whether requests are taken', lambda: self.ready),
            Gauge('process_resident_memory_bytes', 'Resident memory of the server', lambda: _resident('self')),
            Gauge('mmav_reader_memory_bytes', 'Resident memory of the reading processes', self._readers_memory),
        ]
        self._pool = ReaderPool(
            settings,
            workers,
            take=self._waiting.get,
            work=self._work,
            note_end=lambda cause: self.ended.add(cause=cause),
        )
        self._batcher = Batcher(self._scores, size=batch_size, wait=batch_wait, note=self._note_batch)

    def start(self) -> None:
        """Starts the processes and the model's thread.

        Raises:
            MmavError: A process cannot be started.
        """
        self._pool.start()
        self._batcher.start()
        self._started = True

    def stop(self) -> None:
        """Ends all, once what waits is done or was dropped."""
        self.stopping = True
        for _ in range(self.workers):
            self._waiting.put(None)
        if self._started:
            self._pool.join()
            self._batcher.stop()
        else:
            self._pool.join()

    @property
    def ready(self) -> bool:
        """Whether requests are taken, and there is a process to read them."""
        return self._started and not self.stopping and self._pool.running > 0

    def check_room(self) -> None:
        """Refuses a request where as many wait as may.

        Raises:
            Refusal: ``busy`` or ``stopping``.
        """
        if self.stopping:
            raise Refusal('stopping', 'The server is about to stop.', retry_after=self.patience)
        if self._waiting.qsize() >= self.limits.queue:
            raise self.busy()

    def busy(self) -> Refusal:
        """The refusal of a request where as many wait as may."""
        return Refusal('busy', 'Too many requests wait; please try again.', retry_after=self.patience)

    @property
    def patience(self) -> int:
        """Seconds after which a refused client may try again: about as long as the queue takes."""
        each = self.clip_seconds.mean() / (1 + self.limits.queue / self.workers)
        return max(1, min(30, math.ceil(each * self._waiting.qsize() / self.workers)))

    def submit(self, job: ClipJob, *, topk: int | None = 5, threshold: float | None = None) -> ClipRequest:
        """Puts a clip into the queue.

        Raises:
            Refusal: There is no room in the queue, or the options do not go with the model.
        """
        job = self.checked(job, topk=topk, threshold=threshold)
        self.check_room()
        request = ClipRequest(job, seconds=self.limits.timeout, topk=topk, threshold=threshold)
        began = time.perf_counter()
        request.answer.add_done_callback(lambda _: self.clip_seconds.see(time.perf_counter() - began))
        self._waiting.put(request)
        return request

    def checked(self, job: ClipJob, *, topk: int | None = 5, threshold: float | None = None) -> ClipJob:
        """The job with the model's window where none is given.

        Raises:
            Refusal: The options do not go with the model.
        """
        if threshold is not None and self.inferencer.thresholds is None:
            raise Refusal('invalid_option', 'threshold is for models that give several labels; this one gives one.')
        try:
            self.inferencer.check_arguments(drop=job.drop, window=job.window, topk=topk)
        except (MmavError, ValueError) as error:
            raise Refusal('invalid_option', f'{error}') from error
        window = self.inferencer.window if job.window is None else job.window
        if window is None and job.stride is not None:
            raise Refusal('invalid_option', 'this model looks at whole clips: stride has no effect; leave it out')
        if window is not None and job.stride is not None and job.stride > window:
            raise Refusal(
                'invalid_option', f'a stride of {job.stride:g} s is longer than the window of {window:g} s: leaves gaps'
            )
        return job._replace(window=window)

    def about(self) -> dict[str, Any]:
        """The model, for clients."""
        model: Any = self.inferencer.model
        names, heads = self.inferencer.classes or {}, getattr(getattr(model, 'head', None), 'parts', {})
        return dict(
            version=__version__,
            classes={part: list(map(str, names.get(part) or range(head.num_classes))) for part, head in heads.items()},
            modalities=list(self.inferencer.modalities),
            window=self.inferencer.window,
            several_labels=self.inferencer.thresholds is not None,
            limits=dict(
                megabytes=self.limits.megabytes,
                seconds=self.limits.seconds,
                windows=self.limits.windows,
                timeout=self.limits.timeout,
            ),
        )

    @cached_property
    def _labels(self) -> int:
        """How many labels a window can have."""
        model: Any = self.inferencer.model
        heads = getattr(getattr(model, 'head', None), 'parts', {})
        return math.prod(head.num_classes for head in heads.values())

    # The work

    def _work(self, process: ReaderProcess, request: ClipRequest) -> None:
        """Reads the windows of a clip and hands them over to the model."""
        if request.gone():
            request.refuse('timeout', 'The request waited too long in the queue.')
            return
        try:
            with closing(process.read(request.job, deadline=request.deadline, dropped=request.gone)) as reading:
                for message in reading:
                    self._heed(request, message)
                    if request.answer.done() and message['kind'] not in ('end', 'refused'):
                        break
        except ReaderLost as lost:
            if lost.cause == 'crash':
                request.refuse('decoder_crashed', 'The clip ended the process that read it.')
            request.refuse('timeout', f'The clip was not read within {self.limits.timeout:g} s.')
        except Exception:
            request.refuse('internal', 'Something went wrong on our side; the log of the server says what.')
            raise

    def _heed(self, request: ClipRequest, message: dict[str, Any]) -> None:
        kind = message['kind']
        if kind == 'refused':
            request.refuse(str(message['code']), f'The clip {message["reason"]}.')
        elif kind == 'clip':
            request.result['duration'] = round(float(message['duration']), 3)
            if int(message['windows']) * min(request.topk or self._labels, self._labels) > MOST_LABELS:
                request.refuse('clip_too_long', 'The clip has too many windows for so many labels: give a lower topk.')
        elif kind == 'skipped':
            request.result['skipped'].append({name: message[name] for name in ('start', 'end', 'reason')})
        elif kind == 'window':
            number = request.expect()

            def done(scores: Scores | Exception) -> None:
                if request.scored(number, message, scores):
                    self._finish(request)

            self._batcher.put(Window(message['item'], done, request.gone))
        elif kind == 'end' and request.all_read():
            self._finish(request)

    def _finish(self, request: ClipRequest) -> None:
        def predict(scores: Scores) -> dict[str, Any]:
            thresholds = self.inferencer.thresholds
            if thresholds is not None and request.threshold is not None:
                thresholds = {part: np.full(each.shape, request.threshold) for part, each in thresholds.items()}
            return predictions_of(scores, self.inferencer.classes, request.topk, thresholds)

        try:
            result, windows = request.result, [request.windows[k] for k in sorted(request.windows)]
            for item, scores in windows:
                note_window(result, item, predict(scores))
            if not windows and not result['skipped']:
                raise ValueError('a clip without windows')
            finish_result(result, [scores for _, scores in windows], self.inferencer.modalities, predict)
            if result['error'] is not None:
                request.refuse('unreadable_clip', f'The clip {result["error"]}.')
            request.finish(result)
        except Exception:
            request.refuse('internal', 'Something went wrong on our side; the log of the server says what.')
            raise

    def _scores(self, items: Sequence[dict[str, Any]]) -> list[Scores]:
        return self.inferencer.scores(items)

    def _note_batch(self, number: int, seconds: float) -> None:
        self.batches.see(number)
        self.model_seconds.see(seconds)

    def _readers_memory(self) -> float:
        return sum(_resident(pid) for process in self._pool.processes if (pid := process.pid) is not None)


def _resident(pid: int | str) -> float:
    """Resident memory of a process in bytes; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError, ImportError):
        import resource

        with open(_RESIDENT.format(pid)) as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    return 0.0
