"""What the figures of a modality report mean, in sentences that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED
from mmav.structures import ACTION

# less than this share of the clips is not worth a sentence
_LITTLE = 0.02
_MUCH, _ENOUGH = 0.1, 10  # of average precision, and clips that it needs
_CHANCE = 0.05  # p value
_NEAR, _MANY = 0.05, 60  # up to where a difference is none, and clips of which this can be told
_MOST = 3  # classes that are named
_UNLEARNED = (
    'None of this is clearly better than naming the commonest class each time: what a model uses can only be told of '
    'one that has learned something.'
)


def conclusions(figures: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    """Sentences on one part of the label, the most important first.

    A difference counts as one where its 95 % interval leaves out 0 and, as a few clips that all differ alike have no
    wide one, a sign test finds it unlikely by chance. Of several labels it is that in mAP, where that can be judged.

    Args:
        figures: An element of :func:`mmav.analysis.modality_report.figures.modality_figures`.
        names: The two modalities.
    """
    if not figures['clips']:
        return ['No clip has a label, so there is nothing to conclude.']
    if not figures['learned']:
        return [_scores(figures, names), _UNLEARNED, *_caution(figures)]
    return [
        _scores(figures, names),
        _need(figures, names),
        *_together(figures),
        *_confusion(figures, names),
        *_shuffled(figures, names),
        *_classes(figures, names),
        *_caution(figures),
    ]


def title_of(part: str) -> str:
    """What to call a part of the label: nothing where there is only one."""
    return dict(label='', **{ACTION: 'all parts together'}).get(part, part)


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.12345)
    '12.3 %'
    """
    return f'{100 * share:.1f} %'


def points(gain: Mapping[str, Any]) -> str:
    """A difference in percentage points, with its interval.

    >>> points(dict(difference=0.1234, interval=[0.1, 0.15]))
    '12.3 points [10.0, 15.0]'
    """
    low, high = gain['interval']
    return f'{100 * gain["difference"]:.1f} points{gain.get("of", "")} [{100 * low:.1f}, {100 * high:.1f}]'


def clips_of(number: int) -> str:
    """A number of clips.

    >>> clips_of(1), clips_of(2000)
    ('1 clip', '2,000 clips')
    """
    return f'{number:,} clip' + ('' if number == 1 else 's')


def _gain_of(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What both have over a condition, in what is concluded from."""
    gain = figures['gains'][name]
    average = gain.get('mAP')
    return {**average, 'clips': gain['clips'], 'of': ' of mAP'} if average else gain


def sign_of(gain: Mapping[str, Any]) -> int:
    """1 if a difference is above 0 beyond chance, -1 if below, else 0."""
    low, high = gain['interval']
    if gain.get('p_value', 0) >= _CHANCE or ('of' in gain and gain['clips'] < _ENOUGH):
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def _is_near(gain: Mapping[str, Any]) -> bool:
    """Whether there is no difference that matters: not seen, and enough clips to see it."""
    low, high = gain['interval']
    return low >= -_NEAR and high <= _NEAR and gain['clips'] >= _MANY


def _scores(figures: Mapping[str, Any], names: tuple[str, str]) -> str:
    told = [f'{percent(figures["scores"][name]["score"])} with {name} alone' for name in names]
    whole = figures['scores'][BOTH]
    low, high = whole['interval']
    averages = [figures['scores'][name].get('mAP') for name in (BOTH, *names)]
    ranked = ''
    if None not in averages:
        parts = (f'{value:.3f} with {name}' for value, name in zip(averages, ('both', *names), strict=True))
        ranked = f' Its mAP is {", ".join(parts)} alone.'
    return (
        f'With both modalities the model is right for {percent(whole["score"])} of {clips_of(whole["clips"])} '
        f'[{100 * low:.1f}, {100 * high:.1f}], for {" and ".join(told)}; naming the commonest class each time is right '
        f'for {percent(figures["majority"])}.{ranked}'
    )


def _need(figures: Mapping[str, Any], names: tuple[str, str]) -> str:
    """Which modality is missed when it is withheld."""
    # withholding one leaves the other
    missed = {name: _gain_of(figures, other) for name, other in zip(names, reversed(names), strict=True)}
    signs = {name: sign_of(gain) for name, gain in missed.items()}
    costs = {name: f'without {name} it loses {points(gain)}' for name, gain in missed.items()}
    needed = [name for name in names if signs[name] > 0]
    harmful = [name for name in names if signs[name] < 0]
    if harmful:
        name = max(harmful, key=lambda each: -missed[each]['difference'])
        lost = missed[name]
        gained = {**lost, 'difference': -lost['difference'], 'interval': [-each for each in reversed(lost['interval'])]}
        return f'{name.capitalize()} does harm: without it the model gains {points(gained)}.'
    if len(needed) == 2:
        return f'It uses both modalities: {" and ".join(costs[name] for name in names)}.'
    if needed:
        (idle,) = (name for name in names if name not in needed)
        return f'It uses {needed[0]}: {costs[needed[0]]}. It does not measurably use {idle}: {costs[idle]}.'
    return f'It misses neither modality measurably: {" and ".join(costs[name] for name in names)}.'


def _together(figures: Mapping[str, Any]) -> list[str]:
    """Synergy and redundancy."""
    cases = figures['cases']
    right = sum(cases[name]['clips'] for name in ('either', 'first', 'second', 'synergy'))
    if not right:
        return []
    synergy, redundant = (cases[name]['clips'] / right for name in ('synergy', 'either'))
    alone = 1 - synergy - redundant
    told = (
        f'Of the {right:,} clips that are right with both, {percent(synergy)} are right only with both together '
        f'(synergy), {percent(redundant)} with either modality alone (redundancy), and {percent(alone)} with one of '
        'the two alone.'
    )
    return [told]


def _confusion(figures: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    confusion = figures['cases']['confusion']
    if confusion['share'] < _LITTLE:
        return []
    parts = ' and '.join(f'{percent(figures["confusion"][name]["share"])} by {name}' for name in names)
    told = (
        f'Modality confusion: {percent(confusion["share"])} of all clips are right with one modality alone and wrong '
        f'with both ({parts}).'
    )
    return [told]


def _shuffled(figures: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    told, exchanged = [], names[1]
    if SHUFFLED in figures['gains'] and figures['gains'][SHUFFLED]['clips']:
        line = f'With the {exchanged} of another clip it loses {points(_gain_of(figures, SHUFFLED))}'
        follows = figures['follows']
        if follows:
            line += (
                f'; where the two clips are of different classes, it names that of the {names[0]} in '
                f'{percent(follows[names[0]]["share"])}, that of the {exchanged} in '
                f'{percent(follows[exchanged]["share"])}, and neither in {percent(follows["neither"]["share"])}'
            )
        told.append(f'{line}.')
    if SAME in figures['gains'] and figures['gains'][SAME]['clips']:
        gain = _gain_of(figures, SAME)
        own = 'are its labels' if figures['multi_label'] else 'is its class'
        word = own.split()[-1]
        line = f'With the {exchanged} of another clip of the same {word} the difference is {points(gain)}'
        if sign_of(gain) > 0:
            line += f': what belongs to this very clip matters, beyond its {word}'
        elif sign_of(_gain_of(figures, names[0])) > 0 and _is_near(gain):  # it is used
            line += f': what matters of the {exchanged} {own}, not that it belongs to this very clip'
        told.append(f'{line}.')
    return told


def _classes(figures: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    rows, told = figures['classes'], []
    if len(rows) < 2:
        return []
    for name in names:
        gain = f'gain_{name}'
        sure = {sign: [row for row in rows if _sign_of_class(row, name) == sign] for sign in (1, -1)}
        best = sorted(sure[1], key=lambda row: -row[gain])[:_MOST]
        worst = sorted(sure[-1], key=lambda row: row[gain])[:_MOST]
        if best:
            told.append(f'{name.capitalize()} adds most to {_named(best, gain)}.')
        if worst:
            told.append(f'{name.capitalize()} takes most from {_named(worst, gain)}.')
    return told


def _sign_of_class(row: Mapping[str, Any], name: str) -> int:
    """:func:`sign_of` what a modality adds to a class; of average precision, which has no interval, if it is much."""
    gain, interval = row[f'gain_{name}'], row[f'interval_{name}']
    if interval is not None:
        return sign_of(dict(interval=interval, p_value=row[f'p_value_{name}']))
    return int(gain > _MUCH) - int(gain < -_MUCH) if row['clips'] >= _ENOUGH else 0


def _named(rows: Sequence[Mapping[str, Any]], gain: str) -> str:
    return ', '.join(f'{row["class"]!r} ({100 * row[gain]:+.0f} points, {clips_of(row["clips"])})' for row in rows)


def _caution(figures: Mapping[str, Any]) -> list[str]:
    told = []
    if figures['broken']:
        told.append(f'{clips_of(figures["broken"])} could not be read: counted as wrong.')
    if figures['unlabelled']:
        told.append(f'{figures["unlabelled"]:,} clips have none of the classes, and are in mAP only.')
    whole = figures['scores'][BOTH]
    if whole['interval'][1] - whole['interval'][0] > 0.2:
        told.append('There are few clips, so the intervals are wide: test on more to be surer.')
    return told
