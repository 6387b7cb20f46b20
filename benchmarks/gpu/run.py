"""A run of ``tools/analysis_tools/check_gpu.py``: its sections in turn, and the files that it writes after each."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu import sections
from benchmarks.gpu.hand_over import compare_hand_over
from benchmarks.gpu.processes import Child, Outcome, Report, run_sections
from benchmarks.gpu.report import judge, report_text
from benchmarks.gpu.scale import Scale
from mmav.errors import MmavError
from mmav.outputs import write_json, write_output

# most important first: if time is short the last ones are left out
SECTIONS: dict[str, Callable[[Report, Scale], None]] = dict(
    machine=sections.check_machine,
    tests=sections.run_tests,
    training=sections.run_training,
    encoders=sections.compare_encoders,
    memory=sections.compare_memory,
    attention=sections.time_attention,
    forms=sections.compare_forms,
    hand_over=compare_hand_over,
)
# seconds at most; their sum exceeds the budget, as few sections use up theirs
LIMITS = dict(
    machine=40.0, tests=100.0, training=100.0, encoders=110.0, memory=70.0, attention=120.0, forms=60.0, hand_over=40.0
)
RESULTS, LOG, TEXT = FILES = ('gpu.json', 'gpu.log', 'gpu.md')


def read_results(path: Path) -> dict[str, Any]:
    """What a run wrote: ``scale``, ``about`` and ``sections``.

    Raises:
        MmavError: There is no such file, or no run wrote it.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return {name: content[name] for name in ('scale', 'about', 'sections')}
    except OSError as error:
        raise MmavError(f"cannot read '{path}': {error.strerror}; give a {RESULTS} that this tool wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MmavError(f"'{path}' is no {RESULTS} of this tool: give one that it wrote") from error


def earlier_sections(out: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of an earlier run in the same folder, which are kept.

    Raises:
        MmavError: It ran on another machine, with other versions or at another scale.
    """
    if not (out / RESULTS).is_file():
        return {}
    found = read_results(out / RESULTS)
    there, here = (dict(one['about'], scale=one['scale']) for one in (found, content))
    for name in here:
        if there.get(name) != here[name]:
            raise MmavError(
                f"'{out / RESULTS}' is of another {name} ({there.get(name)} there, {here[name]} here), so that what it "
                'holds cannot stand beside new results: give another --out'
            )
    return found['sections']


def run_check(
    names: Sequence[str], content: dict[str, Any], out: Path, *, budget: float, command: Sequence[str]
) -> None:
    """Runs sections, shows their progress, and writes ``FILES`` after each.

    Args:
        names: The sections, of ``SECTIONS``.
        content: ``scale``, ``about``, and in ``sections`` what is kept of earlier runs; outcomes are added.
        out: Folder of the files.
        budget: Seconds for all.
        command: Starts a section, without its name.
    """
    names = [name for name in SECTIONS if name in names]
    found = {name: section for name, section in content['sections'].items() if name not in names}
    log = b''
    show = sys.stdout.isatty()

    def say(name: str, text: str, end: str = '\n') -> None:
        print(f'[{names.index(name) + 1}/{len(names)}] {name}: {text}', end=end, flush=True)

    def begun(name: str, seconds: float, left: float) -> None:
        say(name, f'at most {seconds:.0f} s, {left:.0f} s left of {budget:.0f}')

    def tick(name: str, seconds: float) -> None:
        if show:
            say(name, f'{seconds:.0f} s ', end='\r')

    def ended(name: str, outcome: Outcome, printed: Path | None) -> None:
        nonlocal log
        found[name] = asdict(outcome)
        # in their own order, even if some ran again
        content['sections'] = {key: found[key] for key in SECTIONS if key in found}
        verdicts = judge(content['sections'], real=content['scale'] == 'full')
        write_json(out / RESULTS, content | dict(verdicts=[asdict(verdict) for verdict in verdicts]))
        write_output(out / TEXT, report_text(content))
        log += f'==== {name}: {outcome.status}\n'.encode() + (printed.read_bytes() if printed else b'')
        write_output(out / LOG, log)
        say(name, f'{outcome.status} in {outcome.seconds:.0f} s')
        for line in (*outcome.errors, *outcome.left_out):
            print(f'    {line}', flush=True)

    with tempfile.TemporaryDirectory(prefix='mmav_gpu_') as scratch, _ending_all():
        run_sections(
            names,
            lambda name, printed: Child([*command, name], printed),
            limits=LIMITS,
            budget=budget,
            scratch=Path(scratch),
            begun=begun,
            tick=tick,
            ended=ended,
        )


@contextmanager
def _ending_all() -> Iterator[None]:
    """Turns SIGTERM, as a scheduler sends it, into SystemExit, so that no section's process is left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
