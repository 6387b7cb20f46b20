#!/usr/bin/env python
"""Accuracy, or mAP and F1, of the average of several models' predictions (late fusion)."""

import argparse

from mmav.engine.cli import run_tool
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.predictions import accuracy_of, average_predictions, is_labelled, require_labels, save_predictions
from mmav.outputs import check_output, write_json

EXAMPLE = """example:
  python tools/test.py configs/mat/mat_tiny_avsynth.py A.pth --dump audio.pkl
  python tools/test.py configs/mvitv2/mvitv2_tiny_avsynth.py V.pth --dump video.pkl
  python tools/analysis_tools/average_predictions.py audio.pkl video.pkl --weights 1 2"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', nargs='+', help='files written by tools/test.py --dump')
    parser.add_argument('--weights', nargs='+', type=float, help='one a file; equal if not given')
    parser.add_argument('--out', metavar='FILE.json', help='write the scores to this file')
    parser.add_argument('--dump', metavar='FILE.pkl', help='write the averaged predictions to this file')
    args = parser.parse_args()
    for path, suffixes in ((args.out, ('.json',)), (args.dump, ('.pkl', '.pickle'))):
        if path:
            check_output(path, inputs=args.predictions, suffixes=suffixes)
    loaded = load_alike(args.predictions)
    rows = average_predictions([dump for dump, _ in loaded], args.weights, names=args.predictions)
    if is_labelled(rows):
        for name, (dump, _) in zip(args.predictions, loaded, strict=True):
            print(_line(name, accuracy_of(dump, path=name)))
        accuracy = accuracy_of(rows)
        print(_line('average', accuracy))
        if args.out:
            write_json(args.out, accuracy)
    elif args.out or not args.dump:
        require_labels(rows, args.predictions[0])
    if args.dump:
        save_predictions(args.dump, rows, next((classes for _, classes in loaded if classes), None))


def _line(name: str, accuracy: dict) -> str:
    return f'{name}: ' + '  '.join(f'{key} {value:.4f}' for key, value in accuracy.items())


if __name__ == '__main__':
    run_tool(main)
