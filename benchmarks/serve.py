"""How the endpoint of ``mmav serve`` does at saturation: every request's fate, its latency, and the server's memory."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from mmav.errors import MmavError

# The fate of a request; all but the first two mean that somebody got no answer, or a wrong one.
ANSWERED, REFUSED, TIMED_OUT, OTHER, LOST = 'answered', 'refused', 'timed out', 'other', 'lost'
FATES = {200: ANSWERED, 503: REFUSED, 504: TIMED_OUT}
MEMORY = ('process_resident_memory_bytes', 'mmav_reader_memory_bytes')
# Part of the time after which memory is expected to be what it stays.
WARM_UP = 0.2
PAUSE = 0.05  # seconds after a refusal: less than the server asks for, so that its queue is always full


@dataclass
class Load:
    """What many clients saw.

    Attributes:
        fates: How many requests had each fate.
        seconds: Of the answered ones.
        refused_seconds: Of the refused ones.
        memory: Seconds since the start, and bytes of the server and of its reading processes.
        duration: Seconds altogether.
        problems: What happened to requests that were neither answered nor refused; the first ones.
    """

    fates: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    duration: float = 0.0
    problems: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """All figures; seconds, MiB, and MiB an hour."""
        rows = np.array([row for row in self.memory if row[0] >= WARM_UP * self.duration])
        found: dict[str, Any] = dict(
            seconds=round(self.duration, 1),
            requests=sum(self.fates.values()),
            fates={fate: self.fates[fate] for fate in (ANSWERED, REFUSED, TIMED_OUT, OTHER, LOST)},
            answered_per_second=self.fates[ANSWERED] / self.duration,
            latency_ms=_percentiles(self.seconds),
            refusal_ms=_percentiles(self.refused_seconds),
            problems=self.problems,
        )
        for column, name in enumerate(('server', 'readers'), start=1):
            if len(rows) < 2:
                continue
            values = rows[:, column] / 2**20
            slope = float(np.polyfit(rows[:, 0] / 3600, values, 1)[0])
            spread = [float(values.min()), float(values.max())]
            found[f'{name}_memory_mb'] = dict(first=float(values[0]), last=float(values[-1]), spread=spread)
            found[f'{name}_memory_mb_per_hour'] = slope
        return found


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    values = np.percentile(np.array(seconds) * 1000, (50, 90, 99, 100))
    return dict(zip(('p50', 'p90', 'p99', 'max'), map(float, values), strict=True))


def measure_load(
    url: str,
    clips: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    token: str | None = None,
    timeout: float = 120.0,
    every: float = 2.0,
    progress: bool = True,
) -> Load:
    """Sends clips from many clients, each of which sends the next one as soon as it has an answer.

    Args:
        url: Of the endpoint.
        clips: Contents of files, which take turns.
        clients: Threads, each with a connection of its own.
        seconds: How long.
        token: What the endpoint asks for.
        timeout: Seconds after which a request counts as lost.
        every: Seconds between two looks at the memory.
        progress: Whether to show a progress bar.

    Raises:
        MmavError: There is no endpoint at this address.
    """
    headers = {'Content-Type': 'application/octet-stream'}
    headers.update({} if token is None else {'Authorization': f'Bearer {token}'})
    began = time.monotonic()
    read_memory(url, headers)
    load, lock = Load(), threading.Lock()

    def client(number: int) -> None:
        connection = _connect(url, timeout)
        k = number
        while time.monotonic() < began + seconds:
            sent = time.monotonic()
            fate, problem = _ask(connection, clips[k % len(clips)], headers)
            passed = time.monotonic() - sent
            with lock:
                load.fates[fate] += 1
                if fate == ANSWERED:
                    load.seconds.append(passed)
                elif fate == REFUSED:
                    load.refused_seconds.append(passed)
                if problem and len(load.problems) < 20:
                    load.problems.append(f'after {sent - began:.1f} s: {problem}')
            k += clients
            if fate == REFUSED:
                time.sleep(PAUSE)
            elif fate == LOST:
                connection.close()
                time.sleep(PAUSE)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    with tqdm(total=round(seconds), unit='s', disable=not progress) as bar:
        while any(thread.is_alive() for thread in threads):
            # a look may be refused like any request
            with suppress(MmavError):
                load.memory.append((time.monotonic() - began, *read_memory(url, headers)))
            bar.update(min(round(time.monotonic() - began), bar.total) - bar.n)
            threads[0].join(min(every, max(0.1, seconds / 20)))
    load.duration = time.monotonic() - began
    return load


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == 'https' else http.client.HTTPConnection
    return kind(parts.hostname or '', parts.port, timeout=timeout)


def _ask(connection: http.client.HTTPConnection, clip: bytes, headers: dict[str, str]) -> tuple[str, str]:
    """Sends a clip; returns the fate of the request, and what was wrong."""
    try:
        connection.request('POST', '/v1/classify', clip, headers)
        answer = connection.getresponse()
        content = answer.read()
        fate = FATES.get(answer.status, OTHER)
        if fate == ANSWERED and not json.loads(content)['predictions']:
            return OTHER, 'an answer without predictions'
        return fate, '' if fate in (ANSWERED, REFUSED) else f'{answer.status} {content[:200]!r}'
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return LOST, f'{type(error).__name__}: {error}'


def read_memory(url: str, headers: dict[str, str]) -> tuple[float, float]:
    """Resident memory of the server and, together, of its reading processes, in bytes, as it tells it.

    Raises:
        MmavError: There is no endpoint at this address.
    """
    connection = _connect(url, 10.0)
    try:
        connection.request('GET', '/metrics', headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise MmavError(f'no endpoint answers at {url}: {error}') from error
    finally:
        connection.close()
    found = [re.search(rf'^{name} (\S+)$', text, re.MULTILINE) for name in MEMORY]
    if answer.status == 401:
        raise MmavError(f'the endpoint at {url} asks for a token: give --token-file')
    if not all(found):
        raise MmavError(f'what answers at {url} is no endpoint of mmav serve (status {answer.status})')
    first, second = (float(each[1]) for each in found if each)
    return first, second


@contextmanager
def own_server(config: str, checkpoint: str, options: Sequence[str] = ()) -> Iterator[str]:
    """Starts an endpoint at a free port of this machine; yields its address.

    Args:
        config: Config file.
        checkpoint: Checkpoint file, or "none".
        options: More options of ``mmav serve``.

    Raises:
        MmavError: It does not start; says why.
    """
    command = [sys.executable, '-m', 'mmav', 'serve', config, checkpoint, '--port', '0', *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    errors: list[str] = []
    # its log of every request would fill the pipe
    reader = threading.Thread(target=_drain, args=(process.stderr, errors.append), daemon=True)
    reader.start()
    try:
        for line in process.stdout:
            if found := re.search(r'the endpoint is at (\S+)', line):
                threading.Thread(target=_drain, args=(process.stdout, lambda _: None), daemon=True).start()
                yield found[1]
                break
        else:
            process.wait()
            reader.join()
            raise MmavError(f'the endpoint does not start: {" ".join("".join(errors[-3:]).split())}')
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


def _drain(stream: Any, note: Callable[[str], Any]) -> None:
    for line in stream:
        if ' ms ' not in line:
            note(line)


def read_clips(paths: Sequence[str | Path]) -> list[bytes]:
    """Contents of clips.

    Raises:
        MmavError: One cannot be read.
    """
    try:
        return [Path(path).read_bytes() for path in paths]
    except OSError as error:
        raise MmavError(f"'{error.filename}' cannot be read: {error.strerror}") from error


def load_table(summary: dict[str, Any]) -> str:
    """The figures in words."""
    fates = summary['fates']
    lines = [
        f'{summary["requests"]:,} requests in {summary["seconds"]:g} s: '
        + ', '.join(f'{count:,} {fate}' for fate, count in fates.items()),
        f'{summary["answered_per_second"]:.1f} clips a second',
    ]
    for name, what in dict(latency_ms='an answer', refusal_ms='a refusal').items():
        if summary[name]:
            figures = ', '.join(f'{key} {value:,.0f}' for key, value in summary[name].items())
            lines.append(f'ms to {what}: {figures}')
    for name in ('server', 'readers'):
        if f'{name}_memory_mb' in summary:
            memory = summary[f'{name}_memory_mb']
            lines.append(
                f'memory of the {name}: {memory["first"]:,.0f} MB after the warm-up, {memory["last"]:,.0f} MB in the '
                f'end, {memory["spread"][0]:,.0f} to {memory["spread"][1]:,.0f} MB between, slope '
                f'{summary[f"{name}_memory_mb_per_hour"]:+,.1f} MB an hour'
            )
    return '\n'.join([*lines, *summary['problems']])
