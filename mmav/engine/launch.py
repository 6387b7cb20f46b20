"""What ``tools/train.py`` and ``tools/test.py`` do: parse arguments, check the config, run."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.hooks import Hook

from mmav import parallel
from mmav.checkpoints import require_checkpoint
from mmav.class_names import noted_in
from mmav.config import edits
from mmav.config.check import check_config
from mmav.config.device_steps import move_to_device
from mmav.config.edits import DATALOADERS
from mmav.config.reading import key_value, load_config
from mmav.engine import testing
from mmav.engine.class_lists import check_config_lists
from mmav.engine.distributed import group
from mmav.engine.features.twin import make_twin
from mmav.engine.precision import Hardware, decide
from mmav.errors import CheckpointError, ConfigError, MmavError, OutputError
from mmav.models.weights.uses import places_of_files, weights_of_config
from mmav.outputs import check_folder, check_output, is_first, same_file, write_json
from mmav.registry import RUNNERS
from mmav.threads import sharing_cores

_CHECKPOINT = re.compile(r'(?:(?:epoch|iter|resume_iter)_\d+|best_.+|averaged_(?:epoch|iteration)_\d+-\d+)\.pth')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that training and testing share."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: work_dirs/<name of the config>')
    parser.add_argument('--data-root', help='folder of the data, instead of the one in the config')
    parser.add_argument(
        '--features',
        metavar='DIR',
        help='read features that `mmav extract-features CONFIG CHECKPOINT --out DIR` stored, in place of running the '
        'encoders of the config',
    )
    parser.add_argument(
        '--cache',
        metavar='ram|DIR|prepared',
        help='decode each clip once: keep frames and sound in memory (ram), which all processes share, or in a folder, '
        'from run to run; prepared (prepared:DIR for a folder) keeps what the deterministic transforms give, for '
        'pipelines that read the same frames each time; says how much that takes, and changes no result',
    )
    parser.add_argument(
        '--shards',
        metavar='DIR|ADDRESS',
        help='read the clips from the tar shards that `mmav make-shards` made: a folder, relative to that of the data, '
        'or an address such as s3://bucket/shards; changes no result',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='what started the processes'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        type=key_value,
        default={},
        metavar='K=V',
        help='change single entries of the config, e.g. train_dataloader.batch_size=4 optim_wrapper.optimizer.lr=1e-4',
    )
    # torchrun's older form passes the rank as an argument; it is read from the environment
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def prepare_config(
    args: argparse.Namespace, *, work_dir_suffix: str = '', loaders: Sequence[str] = DATALOADERS
) -> Config:
    """Turns the common arguments of a tool into a checked config.

    Args:
        args: The arguments; ``num_classes='auto'`` is resolved from the class names in their ``checkpoint``, if given.
        work_dir_suffix: Folder in the default work dir.
        loaders: Data loaders whose class lists have to fit the model.

    Raises:
        MmavError: The config or a class list is wrong, see :mod:`mmav.config` and :mod:`mmav.engine.class_lists`; or an
            option of workers is given where there are none.
    """
    cfg = load_config(args.config, args.cfg_options)
    features = getattr(args, 'features', None)
    if args.data_root:
        edits.set_data_root(cfg, args.data_root)
    if getattr(args, 'cache', None) is not None:
        if features:
            raise ConfigError(f'--cache {args.cache} has no effect with --features, which decodes no clips')
        edits.set_cache(cfg, args.cache)
    if getattr(args, 'shards', None) is not None:
        if features:
            raise ConfigError(f'--shards {args.shards} has no effect with --features, which reads no clips')
        if lost := [name for name in args.cfg_options or {} if 'shards' in name.split('.')]:
            raise ConfigError(f'--shards {args.shards} would replace {lost[0]} of --cfg-options: leave one of them out')
        edits.set_shards(cfg, args.shards)
    if getattr(args, 'on_device', None):
        if features:
            raise ConfigError('--on-device has no effect with --features, which reads no frames and no sound')
        move_to_device(cfg, args.on_device)
    if getattr(args, 'drop', None):
        edits.set_drop(cfg, args.drop)
    if work_dir_suffix:
        testing.edit(cfg, args)
    check_config(cfg)
    if features:
        _use_features(cfg, args, ['test_dataloader'] if work_dir_suffix else DATALOADERS[:2])
    checkpoint = getattr(args, 'checkpoint', '')
    trained = noted_in(checkpoint) if checkpoint else None
    edits.resolve_num_classes(cfg, (trained or {}).get('label'), loaders=loaders)
    check_config_lists(cfg, loaders, trained, source=checkpoint)
    cfg.launcher = args.launcher
    # models with and without encoders have other checkpoints
    stem = Path(args.config).stem + ('_features' if features else '')
    default = os.path.join('work_dirs', stem, work_dir_suffix)
    cfg.work_dir = args.work_dir or (cfg.get('work_dir') if not work_dir_suffix else None) or default.rstrip(os.sep)
    if is_first():
        check_folder(cfg.work_dir, remedy='give a folder for logs and checkpoints with --work-dir')
    _check_workers(cfg, ['test_dataloader'] if work_dir_suffix else ['train_dataloader', 'val_dataloader'])
    cfg.setdefault('runner_type', 'AVRunner')
    for loader in DATALOADERS:
        options = cfg.get(loader) or {}
        if not options.get('num_workers'):
            # torch refuses these two without workers; the base configs set them, as workers need them
            for name in ('persistent_workers', 'prefetch_factor'):
                if options.pop(name, None) and f'{loader}.{name}' in args.cfg_options:
                    raise ConfigError(f'--cfg-options {loader}.{name} has no effect with {loader}.num_workers=0')
        if group.without_gpu():
            options.pop('pin_memory', None)  # without a GPU torch warns that it has no effect
    return cfg


def _use_features(cfg: Config, args: argparse.Namespace, loaders: Sequence[str]) -> None:
    left_out = make_twin(cfg, args.features, options=list(args.cfg_options), loaders=loaders)
    if left_out and is_first():
        print(f'features are read as they were stored, without {", ".join(left_out)}', file=sys.stderr, flush=True)
    check_config(cfg)


def _check_workers(cfg: Config, loaders: Sequence[str]) -> None:
    busy = [f'{name}.num_workers' for name in loaders if (cfg.get(name) or {}).get('num_workers')]
    if busy and (problem := parallel.worker_problem()) is not None:
        instead = ' '.join(f'{name}=0' for name in busy)
        raise ConfigError(
            f'{" and ".join(busy)} above 0 need shared memory, and there is none ({problem}): '
            f'{parallel.NO_SHARED_MEMORY}, or --cfg-options {instead}'
        )


def train(args: argparse.Namespace, *, hooks: Sequence[Hook] = ()) -> None:
    """Trains.

    Args:
        args: See ``tools/train.py --help``.
        hooks: Added to those of the config.

    Raises:
        MmavError: A user's mistake, in one line.
    """
    cfg = prepare_config(args)
    if args.deterministic:
        edits.turn_on_deterministic(cfg, args.cfg_options)
    if args.amp:
        edits.set_amp(cfg, args.amp, options=args.cfg_options)
    _check_numbers(cfg)
    if cfg.get('val_cfg') is not None:
        _check_numbers(cfg, training=False)
    if args.auto_scale_lr:
        edits.turn_on_auto_scale_lr(cfg)
    scaling = [name for name in args.cfg_options if name.startswith('auto_scale_lr')]
    if scaling and not (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise ConfigError(f'--cfg-options {scaling[0]} has no effect without --auto-scale-lr')
    if args.resume is not None:
        cfg.resume = args.resume or True
    for checkpoint in (cfg.get('resume'), cfg.get('load_from')):
        if isinstance(checkpoint, str):
            require_checkpoint(checkpoint)
    _check_checkpoints(cfg)
    _fetch_weights(cfg, args.cfg_options)
    _run(cfg, 'train', lambda runner: runner.train(), hooks)


def _check_numbers(cfg: Config, *, training: bool = True) -> None:
    """Refuses contradictory settings before anything is built.

    Only the runner queries the hardware, once each process has its GPU: a query allocates memory on the first GPU.
    """
    decide(cfg, Hardware('cpu' if group.without_gpu() else 'cuda'), training=training)


def _fetch_weights(cfg: Config, options: Iterable[str]) -> None:
    """Downloads public weights before any data is read, unless the runner may find a checkpoint that replaces them."""
    places = places_of_files(cfg)
    of_weights = [name for name in options for place in places if f'{name}.'.startswith(f'{place}.')]
    if of_weights and not cfg.model.get('pretrained', True):
        raise ConfigError(f'--cfg-options {of_weights[0]} has no effect with model.pretrained=False')
    if cfg.get('load_from') or (cfg.get('resume') and any(Path(cfg.work_dir).glob('*.pth'))):
        return
    if not isinstance(cfg.get('resume'), str):
        try:
            for source in weights_of_config(cfg).values():
                source.fetch()
        except CheckpointError as error:
            if cfg.model.type != 'AVClassifier':  # it may not know the option
                raise
            raise CheckpointError(f'{error}; or from scratch: --cfg-options model.pretrained=False') from error


def _check_checkpoints(cfg: Config) -> None:
    """Prevents training, which writes epoch_1.pth and so on, from overwriting checkpoints it did not write."""
    folder, source = Path(cfg.work_dir), cfg.get('load_from')
    if isinstance(source, str) and _CHECKPOINT.fullmatch(Path(source).name) and same_file(Path(source).parent, folder):
        raise OutputError(f"load_from='{source}' lies in the work dir and may be replaced: give another --work-dir")
    found = sorted(path.name for path in folder.glob('*.pth') if _CHECKPOINT.fullmatch(path.name))
    trained = (folder / 'last_checkpoint').is_file() or any(folder.glob('*/vis_data'))
    if found and not trained and not cfg.get('resume'):
        raise OutputError(f"'{folder}' holds {found[0]}, which no training wrote there: give another --work-dir")


def test(args: argparse.Namespace, *, hooks: Sequence[Hook] = ()) -> None:  # noqa: PT028, no test of pytest's
    """Tests a checkpoint.

    Args:
        args: See ``tools/test.py --help``.
        hooks: Added to those of the config.

    Raises:
        MmavError: A user's mistake, in one line.
    """
    testing.check(args)
    require_checkpoint(args.checkpoint)
    for path, suffixes in ((args.out, ('.json',)), (args.dump, ('.pkl', '.pickle'))):
        if path and is_first():
            check_output(path, inputs=[args.config, args.checkpoint], suffixes=suffixes)
    cfg = prepare_config(args, work_dir_suffix='test', loaders=['test_dataloader'])
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:
        edits.set_eval_amp(cfg, args.amp, options=args.cfg_options)
    _check_numbers(cfg, training=False)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f"'{args.config}' has no test_dataloader")
    if args.dump:
        evaluator = cfg.get('test_evaluator') or []
        metrics = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
        cfg.test_evaluator = [*metrics, dict(type='DumpPredictions', out_file=args.dump)]
    start = time.monotonic()
    metrics, failures = _run(cfg, 'test', _test, hooks)
    if args.out and is_first():
        notes = dict(checkpoint=args.checkpoint, dropped=args.drop, seconds=round(time.monotonic() - start, 1))
        write_json(args.out, {**metrics, **notes})
    if failures:
        raise failures[0]


def _test(runner: Any) -> tuple[dict[str, Any], list[MmavError]]:
    """The metrics, and errors from writing predictions, which are raised once the metrics are written."""
    metrics = runner.test()
    found = (getattr(metric, 'failure', None) for metric in runner.test_loop.evaluator.metrics)
    return metrics, [failure for failure in found if failure is not None]


def _run(cfg: Config, stage: str, action: Callable[[Any], Any], hooks: Sequence[Hook]) -> Any:
    _require_tensorboard(cfg)
    workers = cfg[f'{stage}_dataloader'].get('num_workers') or 0
    try:
        with sharing_cores(workers) as note:
            runner = RUNNERS.build(cfg)
            runner.logger.info(note)
            for hook in hooks:
                runner.register_hook(hook)
            return action(runner)
    finally:
        group.leave()


def _require_tensorboard(cfg: Config) -> None:
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or ()
    if any(backend.get('type') == 'TensorboardVisBackend' for backend in backends):
        try:
            import torch.utils.tensorboard  # noqa: F401 (MMEngine imports it when the log begins)
        except ImportError as error:
            raise ConfigError('TensorboardVisBackend needs tensorboard: pip install tensorboard') from error
