"""What the command-line tools share: config and overrides in, checked config out, errors as one line."""

from __future__ import annotations

import argparse
import copy
import errno
import faulthandler
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmav.class_names import noted_in
from mmav.config.check import check_config, top_level_names
from mmav.config.edits import (
    DATALOADERS,
    resolve_num_classes,
    set_amp,
    set_data_root,
    set_drop,
    set_eval_amp,
    turn_on_auto_scale_lr,
    turn_on_deterministic,
)
from mmav.config.overrides import check_overrides
from mmav.engine.class_lists import check_config_lists
from mmav.errors import CheckpointError, ConfigError, MmavError, OutputError, did_you_mean, one_line
from mmav.outputs import check_folder, check_output, program, same_file, write_json
from mmav.shipped import find_config

_CHECKPOINT = re.compile(r'(?:(?:epoch|iter|resume_iter)_\d+|best_.+)\.pth')
# What a disk or its rights answer; a user can do something about each of them.
_OF_THE_DISK = {
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'ENOTDIR', 'EISDIR', 'EEXIST')
    if hasattr(errno, name)
}

# So many clips that workers were reading are named in an error.
CLIPS_NAMED = 4


def run_tool(main: Callable[[], None]) -> None:
    """Runs a tool's main function.

    A user's mistake, or a data worker that died, ends it with one line on stderr and exit status 2; training that was
    asked to stop and has saved its position ends with status 0.
    """
    from mmav.engine.hooks.resume_point import TrainingStopped

    tolerant_console()
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        # What kills this process itself, such as a file that is read without workers, leaves a trace at least.
        faulthandler.enable(sys.__stderr__)
    try:
        with program(Path(getattr(sys.modules['__main__'], '__file__', None) or sys.argv[0]).name):
            _watched(main)
    except TrainingStopped as stopped:
        if os.environ.get('RANK', '0') == '0':
            print(stopped, file=sys.stderr, flush=True)
    except RuntimeError as error:
        text = _of_workers(error)
        if text is None:
            raise
        print(f'error{_where()}: {text}', file=sys.stderr, flush=True)
        sys.exit(2)
    except MmavError as error:
        # a config may have several problems: one line each
        text = str(error).replace('\n', '\n  ') if isinstance(error, ConfigError) else one_line(error)
        print(f'error{_where()}: {text}', file=sys.stderr, flush=True)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read the output, such as head, has seen enough; Python's own flush at the end would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        without_temporary = 'No usable temporary directory' in str(error)
        if error.errno not in _OF_THE_DISK and not without_temporary:
            raise
        remedy = '; set TMPDIR to a folder that can be written to' if without_temporary else ''
        print(f'error: {one_line(error)}{remedy}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def tolerant_console() -> None:
    """Lets the console show what its encoding lacks, such as a class name in another script, as an escape."""
    for stream in (sys.stdout, sys.stderr):
        # the second is what a C locale brings, which has no letters but ASCII's either
        if getattr(stream, 'errors', None) in ('strict', 'surrogateescape') and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def console_has(text: str) -> bool:
    """Whether the console's encoding has all letters of a text."""
    try:
        text.encode(getattr(sys.stdout, 'encoding', None) or 'utf-8')
    except UnicodeEncodeError:
        return False
    return True


def _watched(main: Callable[[], None]) -> None:
    """Calls a tool's main function; a broken connection to a data worker that died becomes an error that says so."""
    try:
        main()
    except BaseException as error:
        if multiprocessing.active_children():
            # torch raises whenever one more worker ends, in the midst of what is said of the first, too.
            with suppress(ValueError, AttributeError):
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        from mmav.datasets.reading import clips_of_lost_workers

        if isinstance(error, (EOFError, OSError)) and (clips := clips_of_lost_workers(error)):
            raise MmavError(_died(clips, f'the connection to it broke ({type(error).__name__})')) from error
        raise


def _where() -> str:
    rank = os.environ.get('RANK', '0')
    return '' if rank == '0' else f' (process {rank})'


def _of_workers(error: RuntimeError) -> str | None:
    """What to say of data workers that died or hang; None of another error."""
    from mmav.datasets.reading import clips_of_workers

    clips = clips_of_workers(str(error))
    if clips is None:
        # in a worker, where the memory that it shares with this process ran out
        shared = 'in DataLoader worker process' in str(error) and 'shared memory' in str(error)
        if not shared:
            return None
        return f'a data worker died: {one_line(error)}; a larger /dev/shm or fewer num_workers help'
    return _died(clips, ' '.join(str(error).split()).rstrip('.'))


def _died(clips: Sequence[str], text: str) -> str:
    what = 'a data worker died' if 'timed out' not in text else 'no data worker answered in time'
    reading = f', while it read {" and ".join(clips[:CLIPS_NAMED])}' if clips else ''
    more = f' and {len(clips) - CLIPS_NAMED} more' if len(clips) > CLIPS_NAMED else ''
    cure = (
        'take such a clip out of the manifest (tools/data/check_media.py finds those that cannot be decoded); '
        * bool(clips)
    )
    return (
        f'{what}{reading}{more}: {text}; {cure}where memory ran out, fewer num_workers help, and where shared memory '
        'did, a larger /dev/shm'
    )


def key_value(text: str) -> str:
    """The form K=V of an argument of ``--cfg-options``."""
    if '=' not in text or text.startswith('='):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form K=V, e.g. train_dataloader.batch_size=4')
    try:
        DictAction._parse_iterable(text.split('=', 1)[1])
    except (AssertionError, RecursionError) as error:  # brackets without a partner, or inside a word as in dict(...)
        raise argparse.ArgumentTypeError(
            f'{text!r} cannot be read: V is a word, a number, [a,b] or (a,b); dicts go into a config, or key by key'
        ) from error
    return text


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that training and testing share."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: work_dirs/<name of the config>')
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
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


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Reads a config and applies overrides.

    Args:
        path: A config file in Python's syntax, or the name of one that comes with mmav; configs are code.
        options: Dotted names and values, as ``--cfg-options`` gives.

    Raises:
        ConfigError: The file is missing or cannot be read, an override names what no config has, or a variable is
            changed that nothing reads any more.
    """
    found = find_config(path)
    if not Path(path).is_file():
        if _is_first():
            print(f"'{path}' is not here; using mmav's own: {found}", file=sys.stderr, flush=True)
        path = str(found)
    if os.getcwd() not in sys.path:
        # custom_imports=dict(imports=['my_neck']) finds my_neck.py in the current folder; last, to hide nothing
        sys.path.append(os.getcwd())
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: it can raise anything
        raise ConfigError(f"cannot read the config '{path}': {one_line(error)}") from error
    known = {*cfg.keys(), *top_level_names()}
    for name in options or {}:
        first = name.split('.')[0]
        if first not in known:
            raise ConfigError(f"--cfg-options {name}: the config has no '{first}'{did_you_mean(first, known)}")
    as_read = copy.deepcopy(cfg)
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ConfigError(f'--cfg-options do not fit the config: {one_line(error)}') from error
    check_overrides(path, as_read, options or ())
    return cfg


def load_checked_config(path: str, options: dict[str, Any] | None = None, data_root: str | None = None) -> Config:
    """Reads a config, applies overrides, moves its data if asked to, and checks it.

    Raises:
        MmavError: See :func:`load_config` and :func:`mmav.config.check.check_config`.
    """
    cfg = load_config(path, options)
    if data_root:
        set_data_root(cfg, data_root)
    check_config(cfg)
    return cfg


def prepare_config(
    args: argparse.Namespace, *, work_dir_suffix: str = '', loaders: Sequence[str] = DATALOADERS
) -> Config:
    """Turns the common arguments of a tool into a checked config.

    Args:
        args: The arguments; the class names in their ``checkpoint``, if they have one, decide ``num_classes='auto'``.
        work_dir_suffix: Folder in the default work dir.
        loaders: Dataloaders whose class lists have to fit the model.

    Raises:
        MmavError: See :func:`load_config`, :func:`mmav.config.check.check_config`, :func:`resolve_num_classes` and
            :func:`~mmav.engine.class_lists.check_config_lists`; or an option of workers is given where there are none.
    """
    from mmav.engine.distributed.group import without_gpu

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    if getattr(args, 'drop', None):
        set_drop(cfg, args.drop)
    check_config(cfg)
    checkpoint = getattr(args, 'checkpoint', '')
    trained = noted_in(checkpoint) if checkpoint else None
    resolve_num_classes(cfg, (trained or {}).get('label'), loaders=loaders)
    check_config_lists(cfg, loaders, trained, source=checkpoint)
    cfg.launcher = args.launcher
    default = os.path.join('work_dirs', Path(args.config).stem, work_dir_suffix)
    cfg.work_dir = args.work_dir or (cfg.get('work_dir') if not work_dir_suffix else None) or default.rstrip(os.sep)
    if _is_first():
        check_folder(cfg.work_dir, remedy='give a folder for logs and checkpoints with --work-dir')
    _check_workers(cfg, ['test_dataloader'] if work_dir_suffix else ['train_dataloader', 'val_dataloader'])
    cfg.setdefault('runner_type', 'AVRunner')
    for loader in DATALOADERS:
        options = cfg.get(loader) or {}
        if not options.get('num_workers'):
            # torch refuses these two without workers; they are in the bases because they need to be there with workers
            for name in ('persistent_workers', 'prefetch_factor'):
                if options.pop(name, None) and f'{loader}.{name}' in args.cfg_options:
                    raise ConfigError(f'--cfg-options {loader}.{name} has no effect with {loader}.num_workers=0')
        if without_gpu():
            options.pop('pin_memory', None)  # torch warns that there is nothing to pin for
    return cfg


def _is_first() -> bool:
    """Whether this process is the one that writes, of those that a launcher started and that have not met yet."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return all(os.environ.get(name, '0') == '0' for name in ranks)


def _check_workers(cfg: Config, loaders: Sequence[str]) -> None:
    from mmav.parallel import NO_SHARED_MEMORY, worker_problem

    busy = [f'{name}.num_workers' for name in loaders if (cfg.get(name) or {}).get('num_workers')]
    if busy and (problem := worker_problem()) is not None:
        raise ConfigError(
            f'{" and ".join(busy)} above 0 need shared memory, and there is none ({problem}): {NO_SHARED_MEMORY}, '
            f'or --cfg-options {" ".join(f"{name}=0" for name in busy)}'
        )


def train(args: argparse.Namespace) -> None:
    """Trains; see ``tools/train.py --help`` for the arguments.

    Raises:
        MmavError: A user's mistake, in one line.
    """
    cfg = prepare_config(args)
    if args.deterministic:
        turn_on_deterministic(cfg, args.cfg_options)
    if args.amp:
        set_amp(cfg, args.amp, options=args.cfg_options)
    _check_numbers(cfg)
    if cfg.get('val_cfg') is not None:
        _check_numbers(cfg, training=False)
    if args.auto_scale_lr:
        turn_on_auto_scale_lr(cfg)
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
    _run(cfg, 'train', lambda runner: runner.train())


def _check_numbers(cfg: Config, *, training: bool = True) -> None:
    """Settings that contradict each other end the run before anything is built.

    The hardware itself is asked by the runner only, once each process has its GPU: asking takes memory of the first.
    """
    from mmav.engine.distributed.group import without_gpu
    from mmav.engine.precision import Hardware, decide

    decide(cfg, Hardware('cpu' if without_gpu() else 'cuda'), training=training)


def _fetch_weights(cfg: Config, options: Iterable[str]) -> None:
    """Brings public weights here before data are read, unless a checkpoint may replace them, which the runner finds."""
    from mmav.models.weights.uses import places_of_files, weights_of_config

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
    """Training writes epoch_1.pth and so on, and must not do so over checkpoints that it did not write."""
    folder, source = Path(cfg.work_dir), cfg.get('load_from')
    if isinstance(source, str) and _CHECKPOINT.fullmatch(Path(source).name) and same_file(Path(source).parent, folder):
        raise OutputError(f"load_from='{source}' lies in the work dir and may be replaced: give another --work-dir")
    found = sorted(path.name for path in folder.glob('*.pth') if _CHECKPOINT.fullmatch(path.name))
    trained = (folder / 'last_checkpoint').is_file() or any(folder.glob('*/vis_data'))
    if found and not trained and not cfg.get('resume'):
        raise OutputError(f"'{folder}' holds {found[0]}, which no training wrote there: give another --work-dir")


def test(args: argparse.Namespace) -> None:
    """Tests a checkpoint; see ``tools/test.py --help`` for the arguments.

    Raises:
        MmavError: A user's mistake, in one line.
    """
    require_checkpoint(args.checkpoint)
    for path, suffixes in ((args.out, ('.json',)), (args.dump, ('.pkl', '.pickle'))):
        if path and _is_first():
            check_output(path, inputs=[args.config, args.checkpoint], suffixes=suffixes)
    cfg = prepare_config(args, work_dir_suffix='test', loaders=['test_dataloader'])
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:
        set_eval_amp(cfg, args.amp, options=args.cfg_options)
    _check_numbers(cfg, training=False)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f"'{args.config}' has no test_dataloader")
    if args.dump:
        evaluator = cfg.test_evaluator
        metrics = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
        cfg.test_evaluator = [*metrics, dict(type='DumpPredictions', out_file=args.dump)]
    start = time.monotonic()
    metrics, failures = _run(cfg, 'test', _test)
    if args.out and os.environ.get('RANK', '0') == '0':
        notes = dict(checkpoint=args.checkpoint, dropped=args.drop, seconds=round(time.monotonic() - start, 1))
        write_json(args.out, {**metrics, **notes})
    if failures:
        raise failures[0]


def _test(runner: Any) -> tuple[dict[str, Any], list[MmavError]]:
    """The metrics, and what kept predictions from being written: metrics are shown and written all the same."""
    metrics = runner.test()
    found = (getattr(metric, 'failure', None) for metric in runner.test_loop.evaluator.metrics)
    return metrics, [failure for failure in found if failure is not None]


def _run(cfg: Config, stage: str, action: Callable[[Any], Any]) -> Any:
    from mmav.engine.distributed.group import leave
    from mmav.registry import RUNNERS
    from mmav.threads import sharing_cores

    workers = cfg[f'{stage}_dataloader'].get('num_workers') or 0
    try:
        with sharing_cores(workers) as note:
            runner = RUNNERS.build(cfg)
            runner.logger.info(note)
            return action(runner)
    except ImportError as error:
        if 'tensorboard' not in str(error):
            raise
        raise ConfigError('TensorboardVisBackend needs tensorboard: pip install tensorboard') from error
    finally:
        leave()


def require_checkpoint(path: str) -> None:
    """Fails early, before data is read and a model built, where there is no such file.

    Raises:
        CheckpointError: There is none.
    """
    if '://' not in path and not Path(path).expanduser().is_file():
        raise CheckpointError(f"no checkpoint '{path}': give the path of a .pth or .safetensors file")
