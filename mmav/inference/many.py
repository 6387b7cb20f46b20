"""Classifies many clips, here and behind addresses, into a file of rows that a later run goes on with."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from tqdm import tqdm

from mmav.datasets.media import BytesFile
from mmav.datasets.media.remote_file import Patience, RemoteFile, is_address
from mmav.errors import MediaError
from mmav.files import digest_of
from mmav.inference.results import new_result
from mmav.inference.row_files import RowFile
from mmav.inference.sources import Source

_DIGITS = 16


class Count(NamedTuple):
    """How many clips there are, were done before, and failed in all."""

    clips: int
    before: int
    failed: int


class Fetched(NamedTuple):
    """A clip that is here, or why it is not; and how many attempts that took."""

    name: str
    clip: str | None
    reason: str
    attempts: int


def classify_many(
    inferencer: Any,
    clips: Sequence[str],
    out: RowFile,
    *,
    batch_size: int = 8,
    workers: int = 8,
    patience: Patience | None = None,
    retry_failed: bool = False,
    show_progress: bool = True,
    **options: Any,
) -> Count:
    """Classifies clips and appends a row for each: a result of the inferencer, and ``attempts``, how often it was asked
    for. Rows are in the order of the clips; those of a run that is continued come after those of the run before.

    Args:
        inferencer: A :class:`mmav.apis.AVInferencer`.
        clips: Paths and addresses, each once.
        out: Where the rows go; clips that have one are left out.
        batch_size: Windows in a batch, and clips that are classified together.
        workers: Clips that are fetched at a time, and as many that wait in memory.
        patience: How an address is fetched; None for the defaults.
        retry_failed: Whether rows with an ``error`` are made anew.
        show_progress: Whether to show a progress bar.
        options: Of :class:`mmav.apis.AVInferencer`'s call.

    Raises:
        MmavError: An option is wrong. A clip that cannot be read is a row with its ``error``.
    """
    out.check_names(clips)
    if retry_failed:
        out.remove(lambda row: row['error'] is not None)
    done = {row['path']: row['error'] is not None for row in out.rows()}
    todo = [clip for clip in clips if clip not in done]
    before = len(clips) - len(todo)
    failed = sum(done.get(clip, False) for clip in clips)
    bar = tqdm(desc='clips', unit='clip', total=len(clips), initial=before, disable=not show_progress)
    fetched = fetch_ahead(todo, workers=workers, patience=patience)
    try:
        with bar:
            while group := list(islice(fetched, batch_size)):
                rows = _rows(inferencer, group, batch_size, options)
                out.add(rows)
                failed += sum(row['error'] is not None for row in rows)
                bar.set_postfix(failed=failed, refresh=False)
                bar.update(len(rows))
    finally:
        fetched.close()  # type: ignore[attr-defined]
    return Count(len(clips), before, failed)


def _rows(
    inferencer: Any, group: Sequence[Fetched], batch_size: int, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    here = [each for each in group if each.clip is not None]
    results = (
        inferencer(
            [Source(each.clip) for each in here if each.clip is not None], batch_size, errors='report', **options
        )
        if here
        else []
    )
    found = iter(results)
    rows = []
    for each in group:
        if each.clip is None:
            row = new_result(each.name, options.get('drop', ()))
            row['error'] = each.reason
        else:
            row = next(found)
        rows.append({**row, 'attempts': each.attempts})
    return rows


def fetch_ahead(clips: Sequence[str], *, workers: int, patience: Patience | None = None) -> Iterator[Fetched]:
    """Fetches what is not on this machine in threads, in order, and holds only so many clips in memory.

    Closing it gives up what waits; a connection that is open ends with its time-out.
    """
    over = threading.Event()
    patience = (patience or Patience())._replace(sleep=over.wait)

    def fetch(clip: str) -> Fetched:
        if not is_address(clip):
            return Fetched(clip, clip, '', 1)
        file = RemoteFile(clip, patience)
        try:
            return Fetched(clip, BytesFile(clip, file.read()), '', file.attempts)
        except MediaError as error:
            return Fetched(clip, None, error.reason, max(1, file.attempts))

    executor = ThreadPoolExecutor(max(1, workers), thread_name_prefix='mmav-fetch')
    waiting: deque[Future[Fetched]] = deque()
    names = iter(clips)
    try:
        for clip in names:
            waiting.append(executor.submit(fetch, clip))
            if len(waiting) >= 2 * max(1, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        over.set()
        executor.shutdown(wait=False, cancel_futures=True)


def settings_of(inferencer: Any, checkpoint: str, **options: Any) -> dict[str, Any]:
    """What the rows of a model depend on: checksums of its config and checkpoint, its classes, and how it is asked."""
    thresholds = inferencer.thresholds
    return dict(
        config=_digest(
            dict(model=inferencer.cfg.model.to_dict(), test=inferencer.cfg.test_dataloader.dataset.to_dict())
        ),
        checkpoint=digest_of(checkpoint)[:_DIGITS],
        classes=_digest({part: list(names) for part, names in (inferencer.classes or {}).items()}),
        thresholds=None if thresholds is None else _digest({part: each.tolist() for part, each in thresholds.items()}),
        **options,
    )


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
