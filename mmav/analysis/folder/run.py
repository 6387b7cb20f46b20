"""The way from a folder of clips to a report: look, choose, train, test, draw; and on from where it was stopped."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmav.analysis.folder.plan import REPORT, TEST, TRAINING, Options, Plan, arguments_for, claim, make_plan
from mmav.analysis.folder.progress import EpochLineHook
from mmav.analysis.folder.report import write_report
from mmav.analysis.folder.results import BOTH, Results, read_results
from mmav.analysis.folder.telling import tell_end
from mmav.checkpoints import find_resume
from mmav.datasets.cache_folder import RAM
from mmav.engine import launch
from mmav.engine.console import quiet_console
from mmav.errors import MmavError, TrainingStopped
from mmav.preparation.folder.listing import list_folder
from mmav.structures import MODALITIES


def train_folder(options: Options) -> Path:
    """Trains a model on a folder of clips, tests it and writes a report; goes on where an earlier run was stopped.

    Returns:
        The report.

    Raises:
        MmavError: The folder is not one to train on, or the work dir is not this program's own.
        TrainingStopped: Ctrl-C or a signal stopped it.
    """
    began = time.monotonic()
    listing = list_folder(options.folder, progress=options.show)
    settings = options.settings(listing)
    before = claim(options.work_dir, listing, settings)
    try:
        with _calm():
            plan = make_plan(options, listing, options.work_dir, settings, before)
            best = _train(options, plan)
            results = _test(options, plan, best)
            report = options.work_dir / REPORT
            write_report(report, plan, results, best=best, minutes=(time.monotonic() - began) / 60)
    except (TrainingStopped, KeyboardInterrupt) as error:
        raise TrainingStopped('stopped; the same command goes on where it was') from error
    tell_end(plan.config, results, best, report)
    return report


def dry_run(options: Options) -> None:
    """Prints what would be chosen; writes nothing.

    Raises:
        MmavError: See :func:`train_folder`.
    """
    listing = list_folder(options.folder, progress=options.show)
    with tempfile.TemporaryDirectory() as folder, _calm():
        make_plan(options, listing, Path(folder), options.settings(listing), None)
    print('\nNothing was written (--dry-run).')


def _train(options: Options, plan: Plan) -> Path:
    """Trains, or goes on; returns the best checkpoint."""
    work_dir = plan.config.parent / TRAINING
    resumes = work_dir.is_dir() and find_resume(work_dir)
    print(
        f'\ntraining{f" goes on from {Path(resumes).name}" if resumes else ""} (Ctrl-C stops; the same command goes on)'
    )
    more: dict[str, Any] = dict(resume='', deterministic=False, auto_scale_lr=False)
    arguments = arguments_for(plan.config, TRAINING, **more, cache=RAM if plan.cached else None)
    minutes = options.minutes if options.epochs is None else None
    launch.train(arguments, hooks=[EpochLineHook(show=options.show, expected=plan.time, minutes=minutes)])
    found = sorted(work_dir.glob('best_*.pth'), key=os.path.getmtime)
    if not found:
        raise MmavError(f"'{work_dir}' holds no best checkpoint: remove the folder and train again")
    return found[-1]


def _test(options: Options, plan: Plan, best: Path) -> Results:
    folder = plan.config.parent / TEST
    withheld: dict[str, str | None] = {BOTH: None}
    if len(plan.modalities) > 1:
        withheld |= {name: next(other for other in MODALITIES if other != name) for name in plan.modalities}
    dumps = {name: folder / f'{name}.pkl' for name in withheld}
    for name, drop in withheld.items():
        arguments = arguments_for(
            plan.config, f'{TEST}/{name}', checkpoint=str(best), out=str(folder / f'{name}.json'),
            dump=str(dumps[name]), drop=drop,
        )  # fmt: skip
        launch.test(arguments, hooks=[EpochLineHook(show=options.show)])
    return read_results(dumps)


@contextmanager
def _calm() -> Iterator[None]:
    """Shows a user what this program says, and what MMEngine warns of."""
    with quiet_console(), warnings.catch_warnings():
        # of torch and others, about their own future
        for kind in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter('ignore', kind)
        yield
