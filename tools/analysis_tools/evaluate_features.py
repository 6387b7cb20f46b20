#!/usr/bin/env python
"""Judges encoders by their features: linear probe, k-NN and cross-modal retrieval, with 95 % intervals. Nothing is
trained but the probe, so it says in seconds which encoder suits a dataset.
"""

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MediaError, MmavError
from mmav.evaluation.feature_files import media_folder
from mmav.evaluation.feature_splits import Split, clips_in_both, read_splits
from mmav.evaluation.judging import MEASURES, as_table, judge, num_steps, remarks
from mmav.evaluation.knn import NEIGHBOURS, TEMPERATURE
from mmav.evaluation.retrieval import shared_space
from mmav.outputs import check_folder, write_json
from mmav.visualization.encoder_plot import draw_figures
from mmav.visualization.retrieval_sheet import draw_retrieved, retrieved_lines

FIGURES, BARS, SHEET = 'evaluation.json', 'evaluation.png', 'retrieval.png'
DEFAULTS = dict(k=NEIGHBOURS, temperature=TEMPERATURE, seed=0)
READ_BY = dict(k='knn', temperature='knn', seed='linear', projections='retrieval')
EXAMPLE = f"""examples:
  python tools/analysis_tools/evaluate_features.py features/train features/test --out judged
  python tools/analysis_tools/evaluate_features.py train.pkl test.pkl --metrics knn --features audio video --k 10
  python tools/analysis_tools/evaluate_features.py features/train features/test --projections work_dirs/avc/epoch_20.pth

DIR gets {FIGURES}, {BARS} and, if the media can be read, {SHEET}: clips and what they retrieved."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('train', help='features of the training clips: a folder, or a dump (test --dump) with features')
    parser.add_argument('test', help='features of the test clips')
    parser.add_argument(
        '--features', nargs='+', metavar='NAME', help='such as audio video; default: all that both have'
    )
    parser.add_argument('--metrics', nargs='+', choices=MEASURES, help='default: all that the features allow')
    parser.add_argument('--k', type=int, help=f'neighbours of k-NN; default: {NEIGHBOURS}')
    parser.add_argument('--temperature', type=float, help=f'of the votes of k-NN; default: {TEMPERATURE}')
    parser.add_argument('--seed', type=int, help='of the training clips that choose the regularisation; default: 0')
    parser.add_argument(
        '--projections',
        metavar='CHECKPOINT',
        help='model with a contrastive head, whose projections retrieval compares',
    )
    parser.add_argument('--data-root', help="folder of the media, for the pictures; default: the features'")
    parser.add_argument('--out', metavar='DIR', help='folder for figures and pictures; without it only print')
    args = parser.parse_args()
    _refuse_idle(args)
    if args.out:
        check_folder(args.out, [FIGURES, BARS, SHEET])
    train, test, classes = read_splits(args.train, args.test, features=args.features, projections=args.projections)
    for path, split in ((args.train, train), (args.test, test)):
        print(f"'{path}': {_size(split)}", flush=True)
    _, copies = clips_in_both(train, test)
    if copies:
        print(f'warning: {copies} test clips have exactly the features of a training clip: are they copies?')
    measures = _measures(args.metrics, test)
    options: dict[str, Any] = {
        name: default if vars(args)[name] is None else vars(args)[name] for name, default in DEFAULTS.items()
    }
    with tqdm(total=num_steps(list(train.features), measures, len(train.labels)), unit='step') as bar:
        rows = judge(train, test, classes=classes, measures=measures, done=bar.update, **options)
    print('\n'.join([as_table(rows), *(f'warning: {remark}' for remark in remarks(rows))]), flush=True)
    if args.out:
        given = dict(train=args.train, test=args.test, projections=args.projections, **options)
        sizes = dict(train=_size(train), test=_size(test))
        write_json(Path(args.out, FIGURES), dict(given=given, sizes=sizes, figures=rows))
        draw_figures(
            rows, Path(args.out, BARS), note=f'{sizes["test"]} of {args.test}, {sizes["train"]} of {args.train}'
        )
        written = [FIGURES, BARS]
        if 'retrieval' in measures:
            written += _draw_sheet(args, test, classes)
        print(f'written to {args.out}: {", ".join(written)}')


def _refuse_idle(args: argparse.Namespace) -> None:
    for name, measure in READ_BY.items():
        if vars(args)[name] is not None and args.metrics and measure not in args.metrics:
            raise ConfigError(f'--{name} has no effect without {measure}: add it to --metrics, or leave --{name} out')
    if args.data_root is not None and not args.out:
        raise ConfigError('--data-root has no effect without --out, which draws the media: add --out DIR')


def _size(split: Split) -> str:
    number = len({tuple(clip['label'].values()) for clip in split.clips})
    left_out = ''.join(f', {count:,} left out: {why}' for why, count in split.left_out.items())
    return f'{len(split.clips):,} clips, {number} classes{left_out}'


def _measures(wanted: list[str] | None, test: Split) -> list[str]:
    """What is measured; retrieval only where it can be, unless it is asked for."""
    measures = list(wanted or MEASURES)
    if 'retrieval' in measures:
        try:
            _, warning = shared_space({name: values.shape[1] for name, values in test.features.items()})
        except MmavError as error:
            if wanted:
                raise
            print(f'no retrieval: {error}')
            return [name for name in measures if name != 'retrieval']
        if warning:
            print(f'warning: {warning}')
    return measures


def _draw_sheet(args: argparse.Namespace, test: Split, classes: Any) -> list[str]:
    try:
        lines = retrieved_lines(test, classes, data_root=args.data_root or media_folder(args.test))
    except MediaError as error:
        print(f'no {SHEET}: {error}; give --data-root')
        return []
    draw_retrieved(lines, Path(args.out, SHEET))
    return [SHEET]


if __name__ == '__main__':
    run_tool(main)
