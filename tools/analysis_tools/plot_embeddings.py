#!/usr/bin/env python
"""Draws the features of test clips in the plane by t-SNE, the same clips in every panel, and says how well k-means
finds their classes (Figure 4 and Table 5 of the MMT paper). Of one dump each feature has a panel, of several dumps
what the last layer of each model reads.
"""

import argparse
from typing import Any

import numpy as np
from tqdm import tqdm

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.clustering import cluster_metrics
from mmav.evaluation.embeddings import (
    METHODS,
    WIDEST,
    FeatureSets,
    choose_features,
    default_perplexity,
    embed,
    join_features,
    pick_clips,
)
from mmav.evaluation.feature_files import load_features
from mmav.outputs import check_output, write_json
from mmav.visualization.embedding_plot import Panel, draw_embeddings
from mmav.visualization.figures import check_picture_name

STARTS = 10  # of k-means

EXAMPLE = """examples:
  python tools/test.py CONFIG CHECKPOINT --dump mmt.pkl --cfg-options model.keep_features=True
  python tools/analysis_tools/plot_embeddings.py mmt.pkl --out figure4.png --json table5.json
  python tools/analysis_tools/plot_embeddings.py mat.pkl mvit.pkl mmt.pkl --names MAT MViTv2 MMT --out figure4.pdf"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'predictions',
        nargs='+',
        help='files written by tools/test.py --dump, with features; or folders of extracted features',
    )
    parser.add_argument(
        '--features',
        nargs='+',
        metavar='NAME',
        help='such as audio video fused; of several files one for all or one each. Default: all of one file, what the '
        'last layer reads of several',
    )
    parser.add_argument('--names', nargs='+', metavar='NAME', help='titles of the panels')
    parser.add_argument('--samples', type=int, default=2000, metavar='N', help='random clips to draw; default: 2000')
    parser.add_argument('--classes', type=int, default=50, metavar='N', help='random classes to draw; default: 50')
    parser.add_argument('--seed', type=int, default=0, help='of the choice, of t-SNE and of k-means; default: 0')
    parser.add_argument('--method', choices=METHODS, default='tsne', help='default: tsne')
    parser.add_argument('--perplexity', type=float, help='of t-SNE; default: 30, less for fewer than 91 clips')
    parser.add_argument('--part', help='which part of the label, such as verb, of clips that have several')
    parser.add_argument(
        '--metrics-of',
        choices=['all', 'drawn'],
        default='all',
        help='clips of which ARI and homogeneity are computed; default: all, whatever is drawn',
    )
    parser.add_argument('--out', default='embeddings.png', metavar='FILE', help='picture; default: embeddings.png')
    parser.add_argument('--json', metavar='FILE.json', help='write the figures to this file')
    args = parser.parse_args()
    check_picture_name(args.out)
    check_output(args.out, inputs=args.predictions)
    if args.json:
        check_output(args.json, inputs=args.predictions, suffixes=['.json'])
    if args.seed < 0:
        raise MmavError(f'--seed {args.seed}: give a number from 0')
    dumps = dict(zip(args.predictions, load_alike(args.predictions, load_features), strict=True))
    if len(dumps) < len(args.predictions):
        raise MmavError('a file is named twice: panels of one file are chosen by --features')
    chosen = choose_features({path: rows for path, (rows, _) in dumps.items()}, args.features)
    sets = join_features(dumps, chosen, part=args.part, names=args.names)
    if sets.left_out:
        print('left out: ' + _counts(sets.left_out), flush=True)
    drawn = pick_clips(sets.labels, args.classes, args.samples, seed=args.seed)
    perplexity = default_perplexity(len(drawn)) if args.perplexity is None else args.perplexity
    points = []
    bar = tqdm(zip(sets.names, sets.features, strict=True), total=len(sets.names), unit='panel')
    for name, features in bar:
        bar.set_description(f'{args.method} of {name}')
        points.append(embed(features[drawn], args.method, perplexity=perplexity, seed=args.seed, name=name))
    measured = drawn if args.metrics_of == 'drawn' else np.arange(len(sets.labels))
    found = []
    bar = tqdm(zip(sets.names, sets.features, strict=True), total=len(sets.names), unit='panel')
    for name, features in bar:
        bar.set_description(f'k-means of {name}')
        found.append(cluster_metrics(features[measured], sets.labels[measured], seed=args.seed, repeats=STARTS))
    of_what = f'{"all" if args.metrics_of == "all" else "the drawn"} {_size(sets.labels[measured])}'
    panels = [
        Panel(name, at, f'ARI {figures["ari"]:.3f}   HS {figures["homogeneity"]:.3f}\nof {of_what}')
        for name, at, figures in zip(sets.names, points, found, strict=True)
    ]
    note = _note(args, sets, drawn, perplexity)
    for name, (path, feature), figures in zip(sets.names, sets.sources, found, strict=True):
        told = '  '.join(f'{key} {value:.4f}' for key, value in figures.items())
        print(f'{name} ({feature} of {path}): {told}', flush=True)
    draw_embeddings(panels, sets.labels[drawn], sets.classes, out_file=args.out, note=note)
    print(f'computed on {of_what}; the picture of {_size(sets.labels[drawn])} is {args.out}')
    if args.json:
        write_json(args.json, _content(args, sets, found, drawn=drawn, measured=measured, perplexity=perplexity))


def _content(
    args: argparse.Namespace,
    sets: FeatureSets,
    found: list[dict[str, float]],
    *,
    drawn: np.ndarray,
    measured: np.ndarray,
    perplexity: float,
) -> dict[str, Any]:
    panels = [
        dict(name=name, file=path, feature=feature, width=values.shape[1], **figures)
        for name, (path, feature), values, figures in zip(sets.names, sets.sources, sets.features, found, strict=True)
    ]
    return dict(
        panels=panels,
        metrics_of=dict(clips=len(measured), classes=len(np.unique(sets.labels[measured]))),
        drawn=dict(clips=len(drawn), classes=[sets.classes[label] for label in np.unique(sets.labels[drawn])]),
        left_out=sets.left_out,
        part=args.part,
        seed=args.seed,
        kmeans_starts=STARTS,
        method=args.method,
        perplexity=perplexity if args.method == 'tsne' else None,
    )


def _note(args: argparse.Namespace, sets: FeatureSets, drawn: np.ndarray, perplexity: float) -> str:
    how = 'Principal components'
    if args.method == 'tsne':
        first = f', after PCA to {WIDEST}' if any(values.shape[1] > WIDEST for values in sets.features) else ''
        how = f't-SNE (perplexity {perplexity:.3g}, seed {args.seed}{first})'
    left_out = f' Left out: {_counts(sets.left_out)}.' if sets.left_out else ''
    same = ', the same in all panels' if len(sets.names) > 1 else ''
    return (
        f'{how} of {_size(sets.labels[drawn])}{same}. ARI, HS: adjusted Rand index and homogeneity '
        f'of k-means with a cluster for each class, the best of {STARTS} starts, seed {args.seed}.{left_out}'
    )


def _size(labels: np.ndarray) -> str:
    return f'{len(labels):,} clips, {len(np.unique(labels))} classes'


def _counts(left_out: dict[str, int]) -> str:
    return ', '.join(f'{number:,} {why}' for why, number in left_out.items())


if __name__ == '__main__':
    run_tool(main)
