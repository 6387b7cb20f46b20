"""Formats predictions for clips as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmav.class_names import label_set
from mmav.inference.results import parts_of
from mmav.tables import text_table

BAR = 20  # characters, for a probability of 1
NO_LABEL = '(no label)'
MOST_BLOCKS = 8  # clips; with more of them each gets a line instead of a block


def report_of(results: Sequence[dict[str, Any]], *, bar: str = '█') -> str:
    """Formats results of :class:`mmav.apis.AVInferencer`.

    Of a model that gives several labels, those that reach their threshold have a star.

    Args:
        results: Up to :data:`MOST_BLOCKS` clips are shown with labels, bars of their probabilities, and windows; with
            more, each clip gets one line.
        bar: The character that bars are made of.
    """
    if len(results) > MOST_BLOCKS:
        rows = [('clip', 'tracks', 'label', 'score', 'seconds')]
        for result in results:
            best = _best(result) if result['predictions'] else dict(label=f'error: {result["error"]}')
            score, seconds = best.get('score'), result['duration']
            rows.append(
                (
                    result['path'],
                    ' + '.join(result['present']),
                    best['label'],
                    '' if score is None else f'{score:.3f}',
                    '' if seconds is None else f'{seconds:.1f}',
                )
            )
        return text_table(rows, left=3)
    return '\n\n'.join(_block(result, bar) for result in results)


def _block(result: dict[str, Any], bar: str) -> str:
    if not result['predictions']:
        return f'{result["path"]}\n  error: {result["error"]}'
    lines = [f'{result["path"]}: {result["duration"]:.1f} s, {_modalities(result)}']
    reached = {each['index'] for each in result['labels']} if 'labels' in result else None
    for best in result['predictions']:
        star = '' if reached is None else '* ' if best['index'] in reached else '  '
        lines.append(f'  {star}{best["score"]:.3f}  {bar * round(BAR * best["score"]):{BAR}}  {best["label"]}')
    if reached is not None:
        listed = {best['index'] for best in result['predictions']}
        more = [f'{each["label"]} {each["score"]:.3f}' for each in result['labels'] if each['index'] not in listed]
        lines += [f'  * {label_set(more)}'] if more else []
        lines += [] if reached else [f'  {NO_LABEL}: no class reaches its threshold']
    for part in parts_of(result):
        words = ', '.join(f'{each["label"]} {each["score"]:.3f}' for each in result[part][:3])
        lines.append(f'  {part}: {words}')
    if len(result['windows']) > 1:
        rows = [('  seconds', 'label', 'score')]
        for window in result['windows']:
            best = _best(window)
            rows.append((f'  {window["start"]:7.1f} to {window["end"]:.1f}', best['label'], f'{best["score"]:.3f}'))
        lines += ['', text_table(rows, left=2)]
    for window in result['skipped']:
        where = '' if window['start'] is None else f' ({window["start"]:.1f} to {window["end"]:.1f} s)'
        lines.append(f'  not read{where}: {window["reason"]}')
    return '\n'.join(lines)


def _best(result: dict[str, Any]) -> dict[str, Any]:
    """The most probable label and its score, or all labels that reach their thresholds with the highest score."""
    best = result['predictions'][0]
    if 'labels' not in result:
        return best
    return dict(best, label=label_set(each['label'] for each in result['labels']) or NO_LABEL)


def _modalities(result: dict[str, Any]) -> str:
    words = ' and '.join(result['present'])
    for key, comment in (('missing', 'the file has no'), ('withheld', 'withheld:')):
        if result[key]:
            words += f' ({comment} {" and ".join(result[key])})'
    return words
