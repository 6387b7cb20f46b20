#!/usr/bin/env python
"""Clusters dumped features by k-means: adjusted Rand index and homogeneity against the labels."""

import argparse

from mmav.engine.cli import run_tool
from mmav.evaluation.clustering import cluster_metrics
from mmav.evaluation.predictions import read_features
from mmav.outputs import check_output, write_json

EXAMPLE = """example:
  python tools/test.py CONFIG CHECKPOINT --dump predictions.pkl --cfg-options model.keep_features=True
  python tools/analysis_tools/cluster_features.py predictions.pkl --out clusters.json"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', nargs='+', help='files written by tools/test.py --dump, with features')
    parser.add_argument('--num-clusters', type=int, help='default: the number of classes among the clips')
    parser.add_argument('--part', help='which part of the label, such as verb, of clips that have several')
    parser.add_argument('--seed', type=int, default=0, help='seed of the starts of k-means')
    parser.add_argument('--out', metavar='FILE.json', help='write the figures, file -> figures, to this file')
    args = parser.parse_args()
    if args.out:
        check_output(args.out, inputs=args.predictions, suffixes=['.json'])
    figures = {}
    for name in args.predictions:
        features, labels = read_features(name, args.part)
        figures[name] = cluster_metrics(features, labels, args.num_clusters, seed=args.seed)
        print(f'{name}: ' + '  '.join(f'{key} {value:.4f}' for key, value in figures[name].items()), flush=True)
    if args.out:
        write_json(args.out, figures)


if __name__ == '__main__':
    run_tool(main)
