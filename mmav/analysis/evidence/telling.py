"""What rows may be said to show, in sentences that follow from the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from mmav.analysis.evidence.judging import Evidence, JudgedRow
from mmav.analysis.evidence.stated import Comparison
from mmav.evaluation.comparing import Interval, Judged
from mmav.evaluation.comparing.power import POWER

_PLAIN = ('d_prime',)  # metrics that are no share


class Unit:
    """How a metric's figures are written: shares in percent, with differences in points, others as they are.

    Args:
        metric: Its key.
    """

    def __init__(self, metric: str) -> None:
        self.plain = metric.endswith(_PLAIN)
        self.factor, self.digits = (1.0, 3) if self.plain else (100.0, 1)

    def figure(self, value: float) -> str:
        """A figure.

        >>> Unit('top1').figure(0.6493)
        '64.9'
        """
        return f'{self.factor * value:.{self.digits}f}'

    def gap(self, value: float) -> str:
        """A difference with its sign.

        >>> Unit('top1').gap(0.016)
        '+1.6'
        """
        return f'{self.factor * value:+.{self.digits}f}'

    def size(self, value: float) -> str:
        """The size of a difference, in words.

        >>> Unit('top1').size(-0.016), Unit('d_prime').size(0.25)
        ('1.6 points', '0.250')
        """
        return self.figure(abs(value)) + ('' if self.plain else ' points')

    def ends(self, low: float, high: float, *, signed: bool = False) -> str:
        """An interval.

        >>> Unit('top1').ends(0.62, 0.67)
        '62.0 to 67.0'
        """
        write = self.gap if signed else self.figure
        return f'{write(low)} to {write(high)}'


def count_of(number: int, thing: str) -> str:
    """A number of things.

    >>> count_of(1, 'seed'), count_of(2000, 'clip')
    ('1 seed', '2,000 clips')
    """
    return f'{number:,} {thing}{"s" * (number != 1)}'


def count_of_seeds(evidence: Evidence) -> str:
    """How many seeds each row has, such as ``5 to 10 seeds``."""
    numbers = [row.seeds for row in evidence.rows if row.seeds] or [0]
    least, most = min(numbers), count_of(max(numbers), 'seed')
    return most if least == max(numbers) else f'{least} to {most}'


def p_text(p: float | None) -> str:
    """A p value.

    >>> p_text(0.04321), p_text(2e-5), p_text(None)
    ('0.043', '< 0.001', '-')
    """
    return '-' if p is None else '< 0.001' if p < 0.001 else f'{p:.3f}'


def tell(evidence: Evidence) -> list[str]:
    """Sentences on all rows and comparisons, the most important first."""
    unit = Unit(evidence.stated.metric)
    if evidence.clips is None:
        return ['No run has ended, so there is nothing to conclude.', *_missing(evidence)]
    seeds = {row.row.title: row.seeds for row in evidence.rows}
    return [
        _what(evidence),
        *_widths(evidence, unit),
        *_counts(evidence),
        *[
            tell_comparison(*each, unit, max(seeds.get(title, 0) for title in (each[1].better, each[1].than)))
            for name in _COUNTED
            for each in evidence.comparisons
            if each[1].verdict == name
        ],
        *_baseline(evidence, unit),
        *_lines(evidence, unit),
        *_missing(evidence),
        *_unanswered(evidence),
    ]


def tell_comparison(comparison: Comparison, judged: Judged, unit: Unit, seeds: int | None = None) -> str:
    """What was found of a stated comparison, in a sentence.

    Args:
        comparison: As it was stated.
        judged: What was found.
        unit: Of the metric.
        seeds: How many either row has; fewer that both have are told.
    """
    source = f' ({comparison.source})' if comparison.source else ''
    one, two = f'"{judged.better}"', f'"{judged.than}"'
    if judged.verdict == 'no conclusion' or judged.difference is None:
        return f'Not concluded: whether {one} is better than {two}{source}: {judged.why_not}.{_models(judged, unit)}'
    found = judged.difference
    on = f', on {len(judged.seeds)} of {seeds} seeds' if seeds is not None and len(judged.seeds) < seeds else ''
    how = f'{unit.ends(found.low, found.high, signed=True)}{on}, corrected p = {p_text(judged.corrected)}'
    how = how.replace('= <', '<')
    if judged.verdict == 'holds':
        return f'Holds: {one} is better than {two}{source}, by {unit.size(found.mean)} ({how}).'
    if judged.verdict == 'reversed':
        return (
            f'Reversed: {one} is worse than {two}, against what was stated{source}, by {unit.size(found.mean)} ({how}).'
        )
    if judged.verdict == 'the same':
        assert judged.margin is not None
        return (
            f'The same: {one} and {two} differ by less than {unit.size(judged.margin)}, which was given as too little '
            f'to matter; stated was that the first is better{source}: {unit.gap(found.mean)} ({how}; '
            f'equivalence: p = {p_text(judged.same_p)}).'
        ).replace('= <', '<')
    return (
        f'Cannot be told: whether {one} is better than {two}{source}: {unit.gap(found.mean)} ({how}). '
        f'{_smallest(judged, unit)}'
    )


def _smallest(judged: Judged, unit: Unit) -> str:
    if judged.smallest is None:
        return ''
    if not unit.plain and judged.smallest >= 1:
        return 'A run of this size can see no difference at all.'
    return f'A run like this one sees {unit.size(judged.smallest)} or more in {100 * POWER:.0f} % of cases.'


def _models(judged: Judged, unit: Unit) -> str:
    """What McNemar's test says of trained models, where nothing is concluded on the rows."""
    test = judged.mcnemar_all
    if test is None or judged.difference is None:
        return ''
    found = judged.difference
    return (
        f' Of the trained models alone: {unit.gap(found.mean)} ({unit.ends(found.low, found.high, signed=True)} on '
        f'other clips), {test.won:,} clips won and {test.lost:,} lost, McNemar: p = {p_text(test.p_value)}.'
    ).replace('= <', '<')


def _what(evidence: Evidence) -> str:
    stated, clips = evidence.stated, count_of(evidence.clips or 0, 'test clip')
    on = '' if stated.dataset == clips else f' on {stated.dataset}'
    several = any(row.interval is not None and row.interval.over != 'clips' for row in evidence.rows)
    over = 'other seeds and other test clips' if several else 'other test clips, not other seeds: each row has one'
    rows, seeds = count_of(len(evidence.rows), 'row'), count_of_seeds(evidence)
    return (
        f'{stated.metric}{on}: {rows}, {seeds}, {clips}. '
        f'Each interval, taken alone, holds with 95 % confidence over {over}.{_shared(evidence)}'
    )


def _widths(evidence: Evidence, unit: Unit) -> list[str]:
    """How far the intervals of rows reach."""
    known = [row for row in evidence.rows if row.interval is not None]
    if len(known) < 4:  # which the table shows as well
        return []
    widths = {row.row.title: row.interval.half_width for row in known if row.interval is not None}
    widest = max(widths, key=lambda title: widths[title])
    ends = f'{unit.figure(min(widths.values()))} to {unit.size(widths[widest])}'
    middle = unit.figure(median(widths.values()))
    return [f'Rows are known to ±{ends}, half of them to ±{middle} or better; least "{widest}".']


def _shared(evidence: Evidence) -> str:
    prior = evidence.prior
    if prior is None:
        return ''
    spread = Unit(evidence.stated.metric).size(prior.variance**0.5)
    return f' The spread over seeds is judged from all {prior.rows} rows together: {spread}.'


def _counts(evidence: Evidence) -> list[str]:
    if not evidence.comparisons:
        return ['No comparison was stated, so none is judged.'] if evidence.stated.baseline is None else []
    counts = evidence.verdicts()
    number = len(evidence.comparisons)
    lead = f'Of {number} stated comparisons' if number > 1 else 'Of the stated comparison'
    claims = counts['holds'] + counts['reversed']
    sure = (
        ' In 95 of 100 such reports all that is said to hold or to be reversed is right at once (Holm).'
        if claims > 1
        else ''
    )
    told = [f'{lead}: {_counted(counts)}.{sure}']
    of_paper: Counter[str] = Counter(
        judged.verdict for comparison, judged in evidence.comparisons if comparison.of_paper
    )
    if 0 < of_paper.total() < number:
        others = Counter(counts)
        others.subtract(of_paper)
        rest = f'Of the {others.total()} others' if others.total() > 1 else 'Of the other one'
        told.append(f"Of the paper's {of_paper.total()}: {_counted(of_paper)}. {rest}: {_counted(others)}.")
    return told


def _counted(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{counts[name]} {words[counts[name] > 1]}' for name, words in _COUNTED.items() if counts[name])


# one, and several of them
_COUNTED = {
    'holds': ('holds', 'hold'),
    'reversed': ('is reversed', 'are reversed'),
    'the same': ('is of rows that are the same within the margin', 'are of rows that are the same within the margin'),
    'cannot be told': ('cannot be told', 'cannot be told'),
    'no conclusion': ('leads to no conclusion', 'lead to no conclusion'),
}


def _baseline(evidence: Evidence, unit: Unit) -> list[str]:
    gains = [row.gain for row in evidence.rows if row.gain is not None and row.gain.difference is not None]
    if not gains:
        return []
    base = f'"{evidence.stated.baseline}"'
    told = []
    for verdict, words in (('holds', 'better'), ('reversed', 'worse')):
        found = [gain for gain in gains if gain.verdict == verdict]
        if found:
            names = ', '.join(_gain(gain.better, gain.difference, unit) for gain in found if gain.difference)
            told.append(f'Significantly {words} than {base}, all rows being compared with it (Holm): {names}.')
    if not any(gain.verdict == 'holds' for gain in gains):
        judged = [gain for gain in gains if not gain.why_not]
        told.append(
            f'No row is significantly better than {base}.'
            if judged
            else f'Nothing is concluded on rows against {base}: {gains[0].why_not}.'
        )
    return told


def _gain(title: str, difference: Interval, unit: Unit) -> str:
    return f'"{title}" {unit.gap(difference.mean)} ({unit.ends(difference.low, difference.high, signed=True)})'


def _lines(evidence: Evidence, unit: Unit) -> list[str]:
    known = [row for row in evidence.rows if row.interval is not None]
    if not evidence.stated.lines or not known:
        return []
    best = max(known, key=lambda row: row.interval.mean if row.interval else 0.0)
    lines = ', '.join(f'{name} {unit.figure(value)}' for name, value in evidence.stated.lines.items())
    assert best.interval is not None
    return [f'Known otherwise: {lines}. The highest row, "{best.row.title}", has {unit.figure(best.interval.mean)}.']


def _missing(evidence: Evidence) -> list[str]:
    """Rows that lack runs, those together that lack the same."""
    alike: dict[tuple[str, str], list[str]] = {}
    for row in evidence.rows:
        rest = 'no figures' if row.interval is None else f'{len(row.figures)} of {row.seeds} seeds'
        if row.row.lost or row.interval is None:
            alike.setdefault((rest, '; '.join(_by_reason(row))), []).append(f'"{row.row.title}"')
    return [
        f'{", ".join(titles)} {"has" if len(titles) == 1 else "have"} {rest}{reasons and f": {reasons}"}.'
        for (rest, reasons), titles in alike.items()
    ]


def _unanswered(evidence: Evidence) -> list[str]:
    """Answers that are missing from the clips of a row, and count as wrong."""
    told = []
    for row in evidence.rows:
        for why, number in row.row.unanswered.items():
            answers = (evidence.clips or 0) * len(row.figures)
            told.append(f'"{row.row.title}": {number:,} of {answers:,} answers count as wrong, being {why}.')
    return told


def _by_reason(row: JudgedRow) -> Sequence[str]:
    reasons: dict[str, list[int]] = {}
    for seed, why in sorted(row.row.lost.items()):
        reasons.setdefault(why, []).append(seed)
    return [f'seed{"s" * (len(seeds) > 1)} {", ".join(map(str, seeds))} {why}' for why, seeds in reasons.items()]
