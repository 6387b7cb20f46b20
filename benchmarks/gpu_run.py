"""A run of ``tools/analysis_tools/check_gpu.py``: its sections in turn, and what is written after each."""

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

from benchmarks import gpu_sections
from benchmarks.gpu_report import report_text
from benchmarks.gpu_scale import Scale
from benchmarks.gpu_verdicts import judge
from benchmarks.sections import Child, Outcome, Report, run_sections
from mmav.errors import MmavError
from mmav.outputs import write_json, write_output

# most important first: where time is short the last ones are left out
SECTIONS: dict[str, Callable[[Report, Scale], None]] = dict(
    machine=gpu_sections.check_machine,
    tests=gpu_sections.run_tests,
    training=gpu_sections.run_training,
    encoders=gpu_sections.compare_encoders,
    memory=gpu_sections.compare_memory,
    attention=gpu_sections.time_attention,
    forms=gpu_sections.compare_forms,
)
# seconds at most; more than the budget in all, as few sections take all of theirs
LIMITS = dict(machine=40.0, tests=100.0, training=100.0, encoders=110.0, memory=70.0, attention=120.0, forms=60.0)
RESULTS, LOG, TEXT = FILES = ('gpu.json', 'gpu.log', 'gpu.md')


def read_results(path: Path) -> dict[str, Any]:
    """What a run wrote: ``scale``, ``about`` and ``sections``.

    Raises:
        MmavError: There is no such file, or it is another one.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return {name: content[name] for name in ('scale', 'about', 'sections')}
    except OSError as error:
        raise MmavError(f"cannot read '{path}': {error.strerror}; give a {RESULTS} that this tool wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MmavError(f"'{path}' is no {RESULTS} of this tool: give one that it wrote") from error


def earlier_sections(out: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier run found in the same folder, which is kept.

    Raises:
        MmavError: It was on another machine, with other versions or at another scale.
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
    """Runs sections, says on the console how they go, and writes the files of ``FILES`` after each.

    Args:
        names: The sections, of ``SECTIONS``.
        content: ``scale``, ``about``, and in ``sections`` what is kept of earlier runs; gets the outcomes.
        out: Folder of the files.
        budget: Seconds for all.
        command: What starts a section, but for its name.
    """
    names = [name for name in SECTIONS if name in names]
    sections = {name: section for name, section in content['sections'].items() if name not in names}
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
        sections[name] = asdict(outcome)
        # in their own order, also where some were measured again
        content['sections'] = {key: sections[key] for key in SECTIONS if key in sections}
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
    """Lets a request to end, as of a scheduler, unwind the run, so that no section is left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
