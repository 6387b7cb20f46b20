"""What was to be shown on a GPU, and whether it was: read off what ``tools/analysis_tools/check_gpu.py`` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_scale import EXPLICIT_B, HALF
from benchmarks.peer_memory import PAPER
from benchmarks.sections import DONE

PASS, FAIL, NOT_MEASURED = 'pass', 'fail', 'not measured'
LEAST_GAIN = 2.0
# of the flagship's own hardware, 8 A100 of 40 GB
CARD = 40e9
OFF_BY = 0.10


@dataclass(frozen=True)
class Verdict:
    """One thing that was to be shown.

    Attributes:
        what: In words.
        verdict: ``PASS``, ``FAIL`` or ``NOT_MEASURED``.
        figures: What it is based on.
    """

    what: str
    verdict: str = NOT_MEASURED
    figures: str = '-'


def judge(sections: Mapping[str, Mapping[str, Any]], *, real: bool = True) -> list[Verdict]:
    """The verdicts, one for each thing that was to be shown; what was not measured is told as such.

    Args:
        sections: Name -> what became of the section, as the tool's JSON file has it.
        real: Whether it was measured at full size on a GPU.
    """
    results = {name: section.get('results', {}) for name, section in sections.items()} if real else {}
    tests_done = bool(results) and sections.get('tests', {}).get('status') == DONE
    return [
        _tests(results.get('tests', {}), tests_done),
        _fits(results.get('training', {})),
        _planned(results.get('training', {})),
        *_explicit(results.get('encoders', {}).get('results', [])),
        _mat(results.get('memory', {}).get(HALF, [])),
    ]


def _verdict(what: str, passed: bool, figures: str) -> Verdict:
    return Verdict(what, PASS if passed else FAIL, figures)


def _tests(found: Mapping[str, Any], done: bool) -> Verdict:
    what = 'the tests that need a GPU pass'
    if not done and not found.get('failed'):
        return Verdict(what)
    return _verdict(what, not found['failed'], f'{found["passed"]} passed, {len(found["failed"])} failed')


def _fits(found: Mapping[str, Any]) -> Verdict:
    what = f'an iteration of the flagship fits {CARD / 1e9:.0f} GB'
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


def _gb(value: float) -> str:
    return f'{value / 1e9:.1f} GB'


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """A table of verdicts; the first row is the header."""
    return [['to be shown', 'verdict', 'figures'], *([v.what, v.verdict, v.figures] for v in verdicts)]
