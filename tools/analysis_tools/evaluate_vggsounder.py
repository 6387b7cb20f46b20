#!/usr/bin/env python
"""Evaluates predictions on VGGSounder, VGGSound's test split with several labels a clip: hit, F1, accuracy, mAP and
modality confusion, as its own benchmark computes them.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions, refuse_twice
from mmav.evaluation.vggsounder import Answers, answers_of, benchmark
from mmav.evaluation.vggsounder_list import FLAGS, LabelList, read_list
from mmav.outputs import check_output, write_json
from mmav.tables import text_table

EXAMPLE = """examples:
  python tools/test.py CONFIG CHECKPOINT --dump both.pkl
  python tools/test.py CONFIG CHECKPOINT --drop video --dump audio.pkl
  python tools/test.py CONFIG CHECKPOINT --drop audio --dump video.pkl
  python tools/analysis_tools/evaluate_vggsounder.py both.pkl --audio audio.pkl --video video.pkl --out vggsounder.json
  python tools/analysis_tools/evaluate_vggsounder.py both.pkl --without background_music --labels vggsounder.csv

Labels: av are audible and visible, a audible, v visible, `a only` and `v only` the rest of these."""
SHOWN = ('hit_rate@1', 'hit_rate@5', 'f1@1', 'f1_macro@1', 'f1@3', 'accuracy@1', 'auc_pr', 'auc_roc')
_NAMES = dict(auc_pr='mAP', auc_roc='AUC')
_MOST = 3  # clips that are named


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', nargs='?', help='dump of a test with both modalities (test --dump)')
    parser.add_argument('--audio', metavar='FILE.pkl', help='dump of a test with audio alone')
    parser.add_argument('--video', metavar='FILE.pkl', help='dump of a test with video alone')
    parser.add_argument(
        '--labels', metavar='FILE.csv', help='the list; default: that of all clips in the installed package vggsounder'
    )
    parser.add_argument('--only', nargs='+', choices=FLAGS, default=[], help='only clips that have these flags')
    parser.add_argument('--without', nargs='+', choices=FLAGS, default=[], help='only clips that have none of these')
    parser.add_argument('--out', metavar='FILE.json', help='all figures, and the clips that were left out by name')
    args = parser.parse_args()
    given = {name: path for name, path in (('av', args.predictions), ('a', args.audio), ('v', args.video)) if path}
    if not given:
        raise MmavError('give predictions: those of a test with both modalities, --audio, --video, or all three')
    refuse_twice(given.values())
    if args.out:
        check_output(args.out, inputs=[*given.values(), *filter(None, [args.labels])], suffixes=('.json',))
    listed = read_list(args.labels).chosen(args.only, args.without)
    print(_head(listed, [*args.only, *(f'no {flag}' for flag in args.without)]), flush=True)
    answers = {name: answers_of(*load_predictions(path), listed, name=path) for name, path in given.items()}
    for name, path in given.items():
        print('\n'.join(_coverage(path, answers[name])), flush=True)
    figures = benchmark(listed, answers)
    print('\n'.join(_report(figures, given)))
    if args.out:
        notes = dict(given=given, labels=listed.path, only=args.only, without=args.without, listed=len(listed.ids))
        left_out = {
            name: dict(each.counts(), names=dict(missing=each.missing, unlisted=each.unlisted, unknown=each.unknown))
            for name, each in answers.items()
        }
        write_json(args.out, {**notes, **figures, 'clips': left_out})
        print(f'written to {args.out}')


def _head(listed: LabelList, chosen: Sequence[str]) -> str:
    told = f' with {" and ".join(chosen)}' if chosen else ''
    labels = listed.shown.astype(bool).sum()
    return f'{listed.path}: {len(listed.ids):,} clips{told}, {labels:,} labels of {len(listed.classes)} classes'


def _coverage(path: str, answers: Answers) -> list[str]:
    """What there is to know of the clips of a dump; nothing is left out without a line."""
    counts = answers.counts()
    lines = [f'{path}: {counts["found"]:,} clips of the list']
    kinds = (
        (answers.missing, 'clips of the list are not in it, and left out'),
        (answers.unlisted, 'of its clips are not in the list, and left out'),
        (answers.unknown, 'of its files are not named <YouTube id>_<start>, and left out'),
    )
    for names, text in kinds:
        if names:
            some = ', '.join(names[:_MOST]) + ', ...' * (len(names) > _MOST)
            lines.append(f'  {len(names):,} {text}: {some}')
    if counts['without_answer']:
        lines.append(f'  {counts["without_answer"]:,} could not be read or have scores that are not finite: no hit')
    return lines


def _report(figures: dict[str, Any], given: dict[str, str]) -> list[str]:
    rows = [('labels', 'clips', *(_NAMES.get(name, name) for name in SHOWN), 'mu')]
    mu = figures['mu']
    for subset, found in figures['subsets'].items():
        if found is None:
            rows.append((subset, '0', *['-'] * (len(SHOWN) + 1)))
            continue
        confused = f'{mu[subset]:.4f}' if mu and subset in mu else '-'
        rows.append((subset, f'{found["clips"]:,}', *(f'{found[name]:.4f}' for name in SHOWN), confused))
    lines = ['', text_table(rows), '']
    if mu:
        lines.append(
            f'mu (modality confusion): share of {mu["clips"]:,} clips that audio (a), video (v), or each of them alone '
            '(av) hits, and both together miss'
        )
    elif len(given) < 3:
        lines.append('mu (modality confusion) needs all three: predictions, --audio and --video')
    subsets = list(figures['subsets'])
    header = ('clips', *(f'{subset} hit@1' for subset in subsets), *(f'{subset} F1@1' for subset in subsets))
    rows = [('', *header)]
    for flag, halves in figures['flags'].items():
        for word, found in halves.items():
            cells = [
                f'{found[subset][name]:.4f}' if subset in found else '-'
                for name in ('hit_rate@1', 'f1@1')
                for subset in subsets
            ]
            first = found.get(subsets[0])
            rows.append((f'{word} {flag}', f'{first["clips"]:,}' if first else '0', *cells))
    return [*lines, '', text_table(rows)]


if __name__ == '__main__':
    run_tool(main)
