"""Verdicts on what ``tools/analysis_tools/check_gpu.py`` found, its tables, and the blocks of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.attention import attention_rows
from benchmarks.gpu.hand_over import hand_over_rows
from benchmarks.gpu.processes import DONE
from benchmarks.gpu.scale import EXPLICIT_B, FULL, HALF
from benchmarks.gpu.training import training_rows
from benchmarks.peer_memory import PAPER, memory_rows
from benchmarks.peer_timing import timing_rows
from mmav.analysis.pages import fill_block, find_block
from mmav.errors import MmavError
from mmav.tables import markdown_table, size

TOOL = 'tools/analysis_tools/check_gpu.py'
PASS, FAIL, NOT_MEASURED = 'pass', 'fail', 'not measured'
LEAST_GAIN = 2.0
# the flagship's hardware is 8 A100 of 40 GB
CARD = 40e9
OFF_BY = 0.10
# of log-mels
CLOSE = 1e-4
_gb = partial(size, unit='GB', digits=1)


@dataclass(frozen=True)
class Verdict:
    """One thing that a run should show.

    Attributes:
        what: In words.
        verdict: ``PASS``, ``FAIL`` or ``NOT_MEASURED``.
        figures: What it is based on.
    """

    what: str
    verdict: str = NOT_MEASURED
    figures: str = '-'


def judge(sections: Mapping[str, Mapping[str, Any]], *, real: bool = True) -> list[Verdict]:
    """One verdict for each thing that a run should show, ``NOT_MEASURED`` included.

    Args:
        sections: Name -> outcome of the section, as in the tool's JSON file.
        real: Whether the run was at full size on a GPU.
    """
    results = {name: section.get('results', {}) for name, section in sections.items()} if real else {}
    tests_done = bool(results) and sections.get('tests', {}).get('status') == DONE
    return [
        _tests_pass(results.get('tests', {}), tests_done),
        _fits(results.get('training', {})),
        _planned(results.get('training', {})),
        *_explicit(results.get('encoders', {}).get('results', [])),
        _mat(results.get('memory', {}).get(HALF, [])),
        *_handed_over(results.get('hand_over', {})),
    ]


def _verdict(what: str, passed: bool, figures: str) -> Verdict:
    return Verdict(what, PASS if passed else FAIL, figures)


def _tests_pass(found: Mapping[str, Any], done: bool) -> Verdict:
    what = 'the tests that need a GPU pass'
    if not done and not found.get('failed'):
        return Verdict(what)
    return _verdict(what, not found['failed'], f'{found["passed"]} passed, {len(found["failed"])} failed')


def _fits(found: Mapping[str, Any]) -> Verdict:
    what = f'an iteration of the flagship fits {size(CARD, "GB")}'
    if not found.get('peak') or not found.get('reserved'):
        return Verdict(what)
    figures = f'peak {_gb(found["peak"])}, {_gb(found["reserved"])} taken by the allocator'
    return _verdict(what, max(found['peak'], found['reserved']) <= CARD, figures)


def _planned(found: Mapping[str, Any]) -> Verdict:
    what = f"the flagship's planned memory is within {OFF_BY:.0%} of the measured peak"
    planned, peak = found.get('planned'), found.get('steady')
    if not planned or not peak:
        return Verdict(what)
    off = planned / peak - 1
    return _verdict(what, abs(off) <= OFF_BY, f'planned {_gb(planned)}, measured {_gb(peak)}: {off:+.1%}')


def _explicit(results: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    step = "MViTv2-B's training step in bfloat16"
    whats = (
        f'{step} is at least {LEAST_GAIN:g} times as fast as with explicit attention',
        f'{step} takes at most half the memory of explicit attention',
    )
    found = [r for r in results if (r['case'], r['mode']) == (f'{EXPLICIT_B}, {HALF}', 'step')]
    if not found:
        return [Verdict(what) for what in whats]
    (result,) = found
    clips = f'{result["batch_size"]} clips'
    ours, theirs = (result['median'][result[name]] * 1e3 for name in ('ours', 'peer'))
    gain = result['ratio_of_medians']
    own, other = (result['peak_bytes'][result[name]] for name in ('ours', 'peer'))
    return [
        _verdict(whats[0], gain >= LEAST_GAIN, f'{gain:.2f} times ({ours:.1f} ms, {theirs:.1f} ms; {clips})'),
        _verdict(whats[1], own <= other / 2, f'{own / other:.2f} of it ({_gb(own)}, {_gb(other)}; {clips})'),
    ]


def _mat(results: Sequence[Mapping[str, Any]]) -> Verdict:
    clips, limit = int(PAPER['MAT']['batch_size']), PAPER['MAT']['bytes']
    what = f"MAT's training with {clips} clips takes less than {_gb(limit)}"
    found = [r for r in results if (r['name'], r['batch_size']) == ('MAT', clips)]
    if not found:
        return Verdict(what)
    return _verdict(what, found[0]['peak'] < limit, f'{_gb(found[0]["peak"])} in {HALF}')


def _handed_over(found: Mapping[str, Any]) -> list[Verdict]:
    whats = (
        'a step takes no longer where its batch is copied one step ahead',
        f'spectrograms on the GPU are those of workers, 99.9 % to {CLOSE:g}',
    )
    without, ahead, furthest = (found.get(name) for name in ('without', 'ahead', 'furthest_of_most'))
    first = Verdict(whats[0])
    if without and ahead:
        first = _verdict(whats[0], ahead <= 1.02 * without, f'{ahead * 1e3:.2f} ms, {without * 1e3:.2f} ms without')
    second = Verdict(whats[1])
    if furthest is not None:
        figures = f'{furthest:.1e}, the furthest {found["furthest"]:.1e}'
        second = _verdict(whats[1], furthest <= CLOSE, figures)
    return [first, second]


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """A table of verdicts; the first row is the header."""
    return [['to be shown', 'verdict', 'figures'], *([v.what, v.verdict, v.figures] for v in verdicts)]


# a table and the line above it; the first row is the header
Table = tuple[str, Sequence[Sequence[str]]]


def _machine(found: Mapping[str, Any]) -> list[Table]:
    rows = [['machine', '']]
    for name in ('where', 'memory', 'capability', 'multiprocessors', 'torch', 'cuda', 'cudnn'):
        value = found.get(name)
        if value is not None:
            rows.append([name, size(value, 'GiB', 1) if name == 'memory' else str(value)])
    for dtype, peak in found.get('peaks', {}).items():
        rows.append([f'product of matrices, {dtype}', '-' if peak is None else f'{peak / 1e12:.4g} TFLOP/s'])
    for what, kernels in found.get('kernels', {}).items():
        rows.append([f'kernel of attention for {what}', '-' if kernels is None else _kernels(kernels)])
    return [('', rows)]


def _kernels(found: Mapping[str, Any]) -> str:
    """``flash (expected: cudnn); cudnn, flash, math run``; what was expected only where it differs."""
    expected = f' (expected: {found["expected"]})' if found['expected'] not in (None, found['taken']) else ''
    return f'{found["taken"]}{expected}; {", ".join(found["run"])} run'


def _tests(found: Mapping[str, Any]) -> list[Table]:
    rows = [['tests', 'number'], *([name, str(found[name])] for name in ('passed', 'skipped'))]
    rows += [['failed', str(len(found['failed']))], *([name, 'failed'] for name in found['failed'])]
    return [('', rows)]


def _training(found: Mapping[str, Any]) -> list[Table]:
    return [('', training_rows(found, found['batch_size']))] if 'seconds' in found else []


def _attention(found: Mapping[str, Any]) -> list[Table]:
    return [
        (f'{dtype}, {found["batch_size"]} clips, forward pass / with its backward pass:',
         attention_rows(found[dtype]['results']))
        for dtype in (HALF, FULL) if dtype in found
    ]  # fmt: skip


def _encoders(found: Mapping[str, Any]) -> list[Table]:
    results = found.get('results')
    return [('', timing_rows(results))] if results else []


def _memory(found: Mapping[str, Any]) -> list[Table]:
    return [(f'{dtype}:', memory_rows(found[dtype])) for dtype in (HALF, FULL) if found.get(dtype)]


def _hand_over(found: Mapping[str, Any]) -> list[Table]:
    return [('', hand_over_rows(found))] if 'batch_size' in found else []


TABLES: dict[str, Callable[[Mapping[str, Any]], list[Table]]] = dict(
    machine=_machine,
    tests=_tests,
    training=_training,
    attention=_attention,
    encoders=_encoders,
    memory=_memory,
    forms=_encoders,
    hand_over=_hand_over,
)


def section_text(name: str, section: Mapping[str, Any]) -> str:
    """A section in Markdown: its tables, and a line for each part that failed or was left out."""
    parts, found = [], section.get('results')
    for title, rows in TABLES[name](found) if found else []:
        parts.append(f'{title}\n\n{markdown_table(rows)}' if title else markdown_table(rows))
    notes = [f'- failed: {line}' for line in section.get('errors', ())]
    notes += [f'- left out: {line}' for line in section.get('left_out', ())]
    return '\n\n'.join([*parts, *(['\n'.join(notes)] if notes else [])]) or 'Not measured yet.'


def report_text(content: Mapping[str, Any]) -> str:
    """The whole report in Markdown."""
    parts = ['# GPU report', _about(content), markdown_table(verdict_rows(_verdicts(content)))]
    for name, section in content['sections'].items():
        status = '' if section['status'] == DONE else f' ({section["status"]})'
        parts.append(f'## {name}{status}\n\n{section_text(name, section)}')
    return '\n\n'.join(parts) + '\n'


def _about(content: Mapping[str, Any]) -> str:
    about = content['about']
    warning = '' if content['scale'] == 'full' else 'In miniature: the figures mean nothing. '
    return f'{warning}{about["where"]}, torch {about["versions"]["torch"]}, Python {about["python"]}.'


def _verdicts(content: Mapping[str, Any]) -> list:
    return judge(content['sections'], real=content['scale'] == 'full')


def find_blocks(page: str | Path) -> None:
    """Makes sure that a page has a block for the verdicts and for each section.

    Raises:
        MmavError: See :func:`~mmav.analysis.pages.find_block`.
    """
    for name in ('verdicts', *TABLES):
        find_block(page, f'gpu: {name}', TOOL)


def fill_page(page: str | Path, content: Mapping[str, Any]) -> list[str]:
    """Writes the results into their blocks of a page; blocks of sections without results stay as they are.

    Args:
        page: Markdown file.
        content: Content of the tool's JSON file.

    Returns:
        The names of the blocks.

    Raises:
        MmavError: The results are not of a run at full size on a GPU, or see :func:`~mmav.analysis.pages.find_block`.
    """
    if content['scale'] != 'full' or content['about']['device'] != 'cuda':
        raise MmavError(
            f"--page {page}: the figures are of the {content['scale']} on '{content['about']['where']}' and would mean "
            'nothing there; a page takes those of a run at full size on a GPU'
        )
    find_blocks(page)
    verdicts = f'{_about(content)}\n\n{markdown_table(verdict_rows(_verdicts(content)))}'
    blocks = dict(verdicts=verdicts)
    for name, section in content['sections'].items():
        if section.get('results'):
            blocks[name] = section_text(name, section)
    for name, text in blocks.items():
        fill_block(page, f'gpu: {name}', TOOL, text)
    return list(blocks)
