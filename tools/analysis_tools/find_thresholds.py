#!/usr/bin/env python
"""Finds the probability from which on a class is predicted for a clip: the threshold with the highest F1 on a
validation list, one for all classes or one for each, as a file for inference, evaluation and error analysis.
"""

import argparse

import numpy as np

from mmav.class_names import label_set
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.label_sets import read_label_sets
from mmav.evaluation.multi_label import multi_label_scores
from mmav.evaluation.thresholds import Thresholds, find_thresholds
from mmav.outputs import check_output, write_json

EXAMPLE = """examples:
  python tools/test.py CONFIG CHECKPOINT --dump val.pkl --cfg-options test_dataloader.dataset.ann_file=val.csv
  python tools/analysis_tools/find_thresholds.py val.pkl --out thresholds.json
  python tools/analysis_tools/find_thresholds.py val.pkl --per-class --out thresholds.json

Give predictions of a validation list, not of the test list: thresholds that were chosen on the clips that they are
judged by make F1 higher than it will be. Inference, mmav errors and MultiLabelMetric take the file:
{"threshold": 0.31}, or with --per-class {"classes": {"dog": 0.3, "cat": 0.62}}."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', help='file written by tools/test.py --dump, of a validation list')
    parser.add_argument('--per-class', action='store_true', help='a threshold for each class; default: one for all')
    parser.add_argument(
        '--average',
        choices=['macro', 'micro'],
        help='which F1 the one for all maximises: the mean of the classes, or that of all pairs of a clip and a class; '
        'default: macro',
    )
    parser.add_argument('--part', help='which part of the label, such as verb, of clips that have several')
    parser.add_argument('--out', metavar='FILE.json', required=True, help='write the thresholds to this file')
    args = parser.parse_args()
    if args.per_class and args.average:
        raise MmavError('--average is for one threshold of all classes: it has no effect with --per-class')
    check_output(args.out, inputs=[args.predictions], suffixes=['.json'])
    sets = read_label_sets(args.predictions, args.part)
    if args.per_class and not sets.named:
        raise MmavError(f"'{args.predictions}' has no names of classes, which thresholds by class need: leave it out")
    left_out = int((~sets.answered).sum())
    if left_out:
        print(f'left out, as they cannot be read or have scores that are not finite: {left_out} clips')
    sets = sets.of(np.flatnonzero(sets.answered))
    if not sets.keys:
        raise MmavError(f"'{args.predictions}' has no clip with an answer")
    content, without = find_thresholds(
        sets.answers, sets.classes, per_class=args.per_class, average=args.average or 'macro'
    )
    if without:
        print(f'without a clip, so with the threshold that is best for all: {label_set(without)}')
    found = Thresholds(args.out, content['classes'] if args.per_class else content['threshold'])
    for name, value in (('0.5', 0.5), (args.out, found.of(sets.classes))):
        scores = multi_label_scores(sets.answers, value)
        print(f'F1 of {len(sets.keys)} clips at {name}: macro {scores["macro_f1"]:.4f}, micro {scores["micro_f1"]:.4f}')
    each = np.atleast_1d(found.of(sets.classes))
    print(
        f'the threshold is {each[0]:.4f}'
        if len(each) == 1
        else f'thresholds from {each.min():.4f} to {each.max():.4f}, median {np.median(each):.4f}'
    )
    write_json(args.out, content)
    print(f'written: {args.out}')


if __name__ == '__main__':
    run_tool(main)
