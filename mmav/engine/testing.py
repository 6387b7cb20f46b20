"""What ``mmav test`` offers beside the config: test-time views, and lists without labels."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmav.config.check import checks
from mmav.config.edits import dicts_within
from mmav.config.views import count_test_views, set_test_views, set_view_options
from mmav.errors import ConfigError
from mmav.models.views import VIEW_AVERAGES
from mmav.outputs import is_first
from mmav.registry import METRICS

# metrics that write predictions and measure nothing; another one says so with needs_labels = False
_WITHOUT_LABELS = ('DumpPredictions', 'DumpResults')
_VIEWS = ('views', 'windows', 'crops', 'flip', 'view_average', 'view_batch')


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of views and of lists without labels."""
    views = parser.add_argument_group('views of a clip, whose scores are averaged (docs/testing.md)')
    number = _whole_number
    views.add_argument('--views', type=number, metavar='N', help="times: LoadClip's num_views, N samples of frames")
    views.add_argument(
        '--windows',
        type=number,
        metavar='N',
        help="LoadClip's num_windows: N windows from a clip's start to its end, each with its frames and its own sound",
    )
    views.add_argument(
        '--crops', type=number, metavar='N', help='crops along the longer side in place of the centre, usually 3'
    )
    views.add_argument('--flip', action='store_true', help='each view also mirrored left to right')
    views.add_argument('--view-average', choices=VIEW_AVERAGES, help="what is averaged; default: the config's")
    views.add_argument(
        '--view-batch',
        type=number,
        metavar='N',
        help='views of a clip at a time: less memory, the same results; default: as many as the config tests without '
        'these options',
    )
    parser.add_argument(
        '--unlabelled',
        metavar='LIST.csv',
        help='test on this list, whose clips need no labels, and write the predictions to --dump; see also mmav submit',
    )


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def check(args: argparse.Namespace) -> None:
    """Refuses arguments that make no sense together.

    Raises:
        ConfigError: Features are read, which have their views; or a list without labels gives no metrics to write.
    """
    asked = [name for name in _VIEWS if getattr(args, name, None)]
    if asked and args.features:
        name = asked[0].replace('_', '-')
        raise ConfigError(f'--{name} has no effect with --features, which have the views that were stored')
    if getattr(args, 'unlabelled', None):
        if args.features:
            raise ConfigError('--unlabelled reads clips: leave --features out')
        if not args.dump:
            raise ConfigError('--unlabelled has no labels to measure by: write the predictions with --dump FILE.pkl')
        if args.out:
            raise ConfigError('--out has no effect with --unlabelled: without labels there are no metrics')


def edit(cfg: Config, args: argparse.Namespace) -> None:
    """Changes a config as the arguments ask for.

    Raises:
        ConfigError: It has no part that could do it.
    """
    if any(getattr(args, name, None) for name in _VIEWS):
        before = math.prod(count_test_views(cfg).values())
        set_test_views(cfg, views=args.views, windows=args.windows, crops=args.crops, flip=args.flip)
        told = set_view_options(cfg, average=args.view_average, batch=args.view_batch, before=before)
        if is_first():
            print(told, file=sys.stderr, flush=True)
    if getattr(args, 'unlabelled', None):
        set_unlabelled(cfg, args.unlabelled)


def set_unlabelled(cfg: Config, path: str) -> None:
    """Makes a config test on a list without labels, and measure nothing; changes ``cfg``.

    Args:
        cfg: The config.
        path: The list. As of any manifest, its paths are relative to the data root of the test set.

    Raises:
        ConfigError: The config has no test set with a manifest, or several.
    """
    sets = [part for part in dicts_within((cfg.get('test_dataloader') or {}).get('dataset')) if 'ann_file' in part]
    if len(sets) != 1:
        raise ConfigError(f'--unlabelled {path}: the config has {len(sets)} test sets with an ann_file, not one')
    if 'features' in sets[0]:
        raise ConfigError(f'--unlabelled {path}: the test set of the config is of features, not of clips')
    sets[0].update(ann_file=os.path.abspath(os.path.expanduser(path)), labelled=False)
    sets[0].pop('indices', None)  # they were rows of the other list
    cfg.test_evaluator = []


@checks(None)
def unlabelled_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each metric that needs labels which its test set does not have."""
    for stage in ('val', 'test'):
        sets = dicts_within((cfg.get(f'{stage}_dataloader') or {}).get('dataset'))
        if all(part.get('labelled', True) for part in sets):
            continue
        for metric in dicts_within(cfg.get(f'{stage}_evaluator')):
            kind = metric.get('type')
            found = METRICS.get(kind) if isinstance(kind, str) else kind
            name = getattr(found, '__name__', None)
            if name is not None and name not in _WITHOUT_LABELS and getattr(found, 'needs_labels', True):
                yield (
                    f'{stage}_evaluator: {name} needs labels, and {stage}_dataloader has labelled=False; leave it out '
                    f"and keep the predictions with dict(type='DumpPredictions', out_file='predictions.pkl')"
                )
