"""One run of an ablation: trained, tested and measured, as ``tools/train.py`` and ``tools/test.py`` do it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmav.analysis.ablation.killing import Hopeless, KillHook, KillRule
from mmav.analysis.ablation.results import PREDICTIONS, RESULT, Result, read_result
from mmav.analysis.ablation.settings import SEED, Settings, parsed
from mmav.checkpoints import last_checkpoint
from mmav.engine import launch
from mmav.engine.testing import add_test_arguments
from mmav.errors import MmavError, TrainingStopped, one_line
from mmav.evaluation.clustering import cluster_metrics
from mmav.evaluation.predictions import accuracy_of, is_labelled, is_multi_label, load_predictions, read_features
from mmav.files import atomic_write
from mmav.outputs import program
from mmav.threads import CORES, COUNTS

LOG = 'output.txt'
BEGUN, LOCK = 'begun.json', '.lock'
METRICS_FILE = 'metrics.json'
KEPT = 'default_hooks.checkpoint.max_keep_ckpts'
# what tools/test.py writes beside the figures
_NOTES = ('checkpoint', 'dropped', 'seconds')


class FolderBusy(MmavError):
    """A run's folder is at work in another process."""


@dataclass(frozen=True)
class Task:
    """A run and all that it takes.

    Attributes:
        name: Of the run, for messages.
        folder: Where it writes.
        settings: How its row runs.
        seed: Its seed.
        checkpoints: Options whose values are checkpoints of other runs, ``K=V``.
        data_root: As of ``tools/train.py``; None for the config's own.
        cache: As of ``tools/train.py``.
        cores: How many it may use.
        in_process: Whether it reads its clips itself, without data workers.
        rules: When it is ended early.
        launcher: A command that starts the tools, with the words CONFIG and, where it differs, STAGE; None to run here.
        owner: The program that the result belongs to.
    """

    name: str
    folder: Path
    settings: Settings
    seed: int
    checkpoints: tuple[str, ...] = ()
    data_root: str | None = None
    cache: str | None = None
    cores: int = 1
    in_process: bool = False
    rules: tuple[KillRule, ...] = field(default=())
    launcher: str | None = None
    owner: str = 'run_ablation.py'

    @property
    def options(self) -> list[str]:
        """All that the run changes of its config, ``K=V``."""
        return [*self.settings.options, *self.checkpoints, f'{SEED}={self.seed}']


def run_task(task: Task) -> Result:
    """Trains, from the last whole checkpoint if there is one, tests, measures, and writes the result.

    Raises:
        FolderBusy: Another process works on it.
        MmavError: The run failed, in one line.
        TrainingStopped: It was asked to stop, and its position is saved.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with _held(task.folder) as lock:
        done = read_result(task.folder / RESULT)
        if done is not None and done.digest == task.settings.digest:
            return done  # by another process that works on the same folder
        return _run(task, lock)


def _run(task: Task, lock: int | None) -> Result:
    begin, resumed = time.monotonic(), _begin(task)
    try:
        if task.launcher:
            _by_command(task, lock)
        else:
            _here(task)
        figures, killed = _figures(task), None
    except Hopeless as why:
        figures, killed = {}, str(why)
    with program(task.owner):
        result = Result(
            figures,
            task.settings.digest,
            killed,
            cpu_seconds=round(_cpu_seconds(), 2),
            wall_seconds=round(time.monotonic() - begin, 2),
            epochs=task.settings.epochs,
            resumed=resumed,
            config=str(task.settings.config),
            options=tuple(task.options),
            seed=task.seed,
        )
        result.write(task.folder)
    return result


def run_logged(task: Task) -> tuple[str, Any]:
    """:func:`run_task` in a process of its own, whose output goes to the run's log.

    Returns:
        ``'done'`` and the result, or ``'stopped'``, ``'busy'`` or ``'failed'`` and why in one line.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with open(task.folder / LOG, 'ab') as log:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    if not any(os.environ.get(name) for name in COUNTS):  # else the user has set a number of threads
        os.environ[CORES] = str(task.cores)
    try:
        return 'done', run_task(task)
    except TrainingStopped as stopped:
        return 'stopped', str(stopped)
    except FolderBusy as busy:
        return 'busy', str(busy)
    except Exception as error:  # noqa: BLE001, one failed run must not end the others
        traceback.print_exc()
        what = one_line(error) if isinstance(error, MmavError) else f'{type(error).__name__}: {one_line(error)}'
        return 'failed', what
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def _begin(task: Task) -> bool:
    """Notes what the run is of; refuses to go on with one of other settings. Returns whether it goes on."""
    note = task.folder / BEGUN
    now = dict(digest=task.settings.digest, seed=task.seed)
    try:
        before = json.loads(note.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        before = None
    if before is not None and before != now:
        raise MmavError(
            f"'{task.folder}' holds the beginning of a run of another config or other options: give another "
            '--work-dir, or remove the folder'
        )
    if before is None:
        atomic_write(note, json.dumps(now).encode())
    return (task.folder / 'last_checkpoint').is_file()


@contextmanager
def _held(folder: Path) -> Iterator[int | None]:
    """Keeps a run's folder for this process and the commands that get the yielded descriptor; ends with all of them."""
    if sys.platform == 'win32':
        yield None
        return
    import fcntl

    with open(folder / LOCK, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderBusy(f"'{folder}' is at work in another process: wait for it, or end it") from error
        yield lock.fileno()


def _here(task: Task) -> None:
    """Trains and tests in this process."""
    arguments = [str(task.settings.config)]
    arguments += ['--data-root', task.data_root] if task.data_root else []
    arguments += ['--cache', task.cache] if task.cache else []
    with program('train.py'):
        args = _arguments([*arguments, '--work-dir', str(task.folder)], [*_training_only(task), *task.options])
        args.resume, args.amp, args.deterministic, args.auto_scale_lr = '', None, False, False
        launch.train(args, hooks=[KillHook(task.rules)] if task.rules else ())
    # two runs that begin in one second share their name, and so MMEngine's global state
    for manager in (MessageHub, MMLogger, Visualizer, DefaultScope):
        manager._instance_dict.clear()
    with program('test.py'):
        args = _arguments([*arguments, '--work-dir', str(task.folder / 'test')], [*_testing_only(task), *task.options])
        args.checkpoint, args.dump = str(last_checkpoint(task.folder)), str(task.folder / PREDICTIONS)
        args.out, args.drop, args.amp = str(task.folder / METRICS_FILE), None, None
        launch.test(args)


def _arguments(words: Sequence[str], options: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_test_arguments(parser)
    launch.add_common_arguments(parser)
    args = parser.parse_args(words)
    args.cfg_options = parsed(options)
    return args


def _training_only(task: Task) -> list[str]:
    """The last checkpoint is enough; and in a process of its own, a run reads its clips itself."""
    options = [f'{KEPT}=1']
    return options + ([f'{name}_dataloader.num_workers=0' for name in ('train', 'val')] if task.in_process else [])


def _testing_only(task: Task) -> list[str]:
    options = ['model.keep_features=True'] if task.settings.keeps_features else []
    return options + (['test_dataloader.num_workers=0'] if task.in_process else [])


def _by_command(task: Task, lock: int | None) -> None:
    """Trains and tests by commands, such as ``tools/dist_train.sh``, on several GPUs."""
    config, data = str(task.settings.config), ['--data-root', task.data_root] if task.data_root else []
    data += ['--cache', task.cache] if task.cache else []
    words = [*_training_only(task), *task.options]
    train = [*data, '--work-dir', str(task.folder), '--resume', '--cfg-options', *words]
    _execute(_command(str(task.launcher), 'train', config), train, lock)
    test = [*data, '--work-dir', str(task.folder / 'test'), '--dump', str(task.folder / PREDICTIONS)]
    test += ['--out', str(task.folder / METRICS_FILE), '--cfg-options', *_testing_only(task), *task.options]
    checkpoint = str(last_checkpoint(task.folder))
    _execute(_command(str(task.launcher), 'test', config, checkpoint), test, lock)


def _command(launcher: str, stage: str, *files: str) -> list[str]:
    words = [word.replace('STAGE', stage) for word in shlex.split(launcher)]
    place = words.index('CONFIG')
    return [*words[:place], *files, *words[place + 1 :]]


def _execute(command: Sequence[str], arguments: Sequence[str], lock: int | None) -> None:
    """Runs a command, which holds the folder as long as any of its processes lives; SIGTERM is passed on to them."""
    print(f'$ {shlex.join([*command, *arguments])}', flush=True)
    kept = () if lock is None else (lock,)
    try:
        process = subprocess.Popen([*command, *arguments], pass_fds=kept, start_new_session=True)
    except OSError as error:
        raise MmavError(f'cannot start {command[0]}: {error.strerror or error}') from error
    stopped = []

    def stop(number: int, frame: Any) -> None:
        stopped.append(number)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        code = process.wait()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
    if stopped:
        raise TrainingStopped(f'{" ".join(command[:3])} was stopped by SIGTERM')
    if code:
        raise MmavError(f'{" ".join(command[:3])} failed with exit status {code}')


def _figures(task: Task) -> dict[str, float]:
    """All figures of the test: those of its metrics, and what follows from the predictions."""
    written = json.loads((task.folder / METRICS_FILE).read_text(encoding='utf-8'))
    figures = {name: float(value) for name, value in written.items() if name not in _NOTES and value is not None}
    dump = task.folder / PREDICTIONS
    rows, _ = load_predictions(dump)
    if is_labelled(rows):
        figures = {**accuracy_of(rows), **figures}
    if is_labelled(rows) and 'feature' in rows[0] and not is_multi_label(rows) and len(rows[0]['label']) == 1:
        with suppress(MmavError):  # fewer clips than clusters
            figures.update(cluster_metrics(*read_features(dump)))
    return figures


def _cpu_seconds() -> float:
    """Processor time of this process and of the children that it has waited for."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system
