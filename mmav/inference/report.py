"""What was said of clips, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmav.datasets.transforms.load_clip import TRACKS
from mmav.tables import text_table

BAR = 20  # characters of a probability of 1
# So many clips get a block each; more of them a line each.
MOST_BLOCKS = 8


def report_of(results: Sequence[dict[str, Any]], *, bar: str = '█') -> str:
    """Writes results of :class:`mmav.apis.AVInferencer` as text.

    Args:
        results: A few: each with its labels, their probabilities as bars, and its windows. Many: one line each.
        bar: What bars are made of.
    """
    if len(results) > MOST_BLOCKS:
        rows = [('clip', 'tracks', 'label', 'score', 'seconds')]
        for result in results:
            best = result['predictions'][0] if result['predictions'] else dict(label=f'error: {result["error"]}')
            score, seconds = best.get('score'), result['duration']
            rows.append(
                (
                    result['path'],
                    ' + '.join(TRACKS[modality] for modality in result['present']),
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
    lines = [f'{result["path"]}: {result["duration"]:.1f} s, {_heard_and_seen(result)}']
    for best in result['predictions']:
        lines.append(f'  {best["score"]:.3f}  {bar * round(BAR * best["score"]):{BAR}}  {best["label"]}')
    for part in ('verb', 'noun'):
        if part in result:
            words = ', '.join(f'{each["label"]} {each["score"]:.3f}' for each in result[part][:3])
            lines.append(f'  {part}: {words}')
    if len(result['windows']) > 1:
        rows = [('  seconds', 'label', 'score')]
        for window in result['windows']:
            best = window['predictions'][0]
            rows.append((f'  {window["start"]:7.1f} to {window["end"]:.1f}', best['label'], f'{best["score"]:.3f}'))
        lines += ['', text_table(rows, left=2)]
    for window in result['skipped']:
        where = '' if window['start'] is None else f' ({window["start"]:.1f} to {window["end"]:.1f} s)'
        lines.append(f'  not read{where}: {window["reason"]}')
    return '\n'.join(lines)


def _heard_and_seen(result: dict[str, Any]) -> str:
    words = ' and '.join(TRACKS[modality] for modality in result['present'])
    for key, comment in (('missing', 'the file has no'), ('withheld', 'withheld:')):
        if result[key]:
            words += f' ({comment} {" and ".join(TRACKS[modality] for modality in result[key])})'
    return words
