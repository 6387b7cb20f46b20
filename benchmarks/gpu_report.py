"""What ``tools/analysis_tools/check_gpu.py`` found, as tables and as the blocks of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.attention_speed import attention_rows
from benchmarks.gpu_scale import FULL, HALF
from benchmarks.gpu_training import training_rows
from benchmarks.gpu_verdicts import judge, verdict_rows
from benchmarks.peer_memory import memory_rows
from benchmarks.peer_timing import timing_rows
from benchmarks.sections import DONE
from mmav.analysis.pages import fill_block, find_block
from mmav.errors import MmavError
from mmav.tables import markdown_table

TOOL = 'tools/analysis_tools/check_gpu.py'
NOT_MEASURED = 'Not measured yet.'
# a table with the line that goes before it; the first row is the header
Table = tuple[str, Sequence[Sequence[str]]]


def _machine(found: Mapping[str, Any]) -> list[Table]:
    rows = [['machine', '']]
    for name in ('where', 'memory', 'capability', 'multiprocessors', 'torch', 'cuda', 'cudnn'):
        value = found.get(name)
        if value is not None:
            rows.append([name, f'{value / 2**30:.1f} GiB' if name == 'memory' else str(value)])
    for dtype, peak in found.get('peaks', {}).items():
        rows.append([f'product of matrices, {dtype}', '-' if peak is None else f'{peak / 1e12:.4g} TFLOP/s'])
    for what, kernels in found.get('kernels', {}).items():
        rows.append([f'kernel of attention for {what}', '-' if kernels is None else _kernels(kernels)])
    return [('', rows)]


def _kernels(found: Mapping[str, Any]) -> str:
    """``flash (expected: cudnn); cudnn, flash, math run``; what was expected is told where it is something else."""
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


TABLES: dict[str, Callable[[Mapping[str, Any]], list[Table]]] = dict(
    machine=_machine,
    tests=_tests,
    training=_training,
    attention=_attention,
    encoders=_encoders,
    memory=_memory,
    forms=_encoders,
)


def section_tables(name: str, section: Mapping[str, Any]) -> list[Table]:
    """The tables of a section; none where nothing was found."""
    found = section.get('results') or {}
    return TABLES[name](found) if found else []


def section_text(name: str, section: Mapping[str, Any]) -> str:
    """A section in Markdown: its tables, and a line for each part that failed or was left out."""
    parts = []
    for title, rows in section_tables(name, section):
        parts.append(f'{title}\n\n{markdown_table(rows)}' if title else markdown_table(rows))
    notes = [f'- failed: {line}' for line in section.get('errors', ())]
    notes += [f'- left out: {line}' for line in section.get('left_out', ())]
    return '\n\n'.join([*parts, *(['\n'.join(notes)] if notes else [])]) or NOT_MEASURED


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
    """Makes sure that a page has a block for each section and for the verdicts.

    Raises:
        MmavError: See :func:`~mmav.analysis.pages.find_block`.
    """
    for name in ('verdicts', *TABLES):
        find_block(page, f'gpu: {name}', TOOL)


def fill_page(page: str | Path, content: Mapping[str, Any]) -> list[str]:
    """Writes what was measured into its blocks of a page; blocks of sections that have no results stay as they are.

    Args:
        page: Markdown file.
        content: What the tool's JSON file has.

    Returns:
        The names of the blocks.

    Raises:
        MmavError: It was not measured at full size on a GPU, or see :func:`~mmav.analysis.pages.find_block`.
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
