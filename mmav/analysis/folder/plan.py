"""What was found in a folder and chosen for it, written down so that a second run goes on with the same."""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmav.analysis.folder.caching import IN_MEMORY, NAME, build_lists, fits_now
from mmav.analysis.folder.choices import CONFIG, MINUTES, Choice, Choices, choose, choose_window, limit_epochs
from mmav.analysis.folder.config import config_text, folder_config
from mmav.analysis.folder.encoders import Encoder, check_used, explain_scratch, fit_choices, read_encoders
from mmav.analysis.folder.telling import tell_choices, tell_files, tell_lists
from mmav.analysis.folder.timing import EpochTime, seconds_of_epoch
from mmav.config.reading import load_config
from mmav.engine import launch
from mmav.errors import OutputError
from mmav.journal import Journal
from mmav.outputs import check_folder, read_record, write_json, write_output
from mmav.preparation.checking import file_stamp
from mmav.preparation.folder.listing import Listing
from mmav.preparation.folder.lists import Division, divide
from mmav.preparation.folder.survey import Survey, look
from mmav.shipped import find_config
from mmav.structures import MODALITIES

CONFIG_FILE, PLAN, REPORT, ABOUT = 'config.py', 'plan.json', 'report.html', 'about.txt'
LISTS, TRAINING, TEST = 'lists', 'training', 'test'
VERSION = 1


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    Attributes:
        folder: The folder of clips.
        work_dir: Where all results go.
        modalities: Modalities to use; None to choose.
        epochs: Epochs; None to choose.
        minutes: That training may take.
        seed: Of the held-out clips and of training.
        source: Pattern that finds the recording in a path; None for the rules on names.
        flips: Whether training mirrors videos.
        encoders: MODALITY=WHERE of encoders of others.
        workers: Processes that read; None to choose.
        jobs: Processes that check files; None for one per core.
        show: Whether to show progress bars.
    """

    folder: Path
    work_dir: Path
    modalities: tuple[str, ...] | None = None
    epochs: int | None = None
    minutes: float = MINUTES
    seed: int = 0
    source: str | None = None
    flips: bool = False
    encoders: tuple[str, ...] = ()
    workers: int | None = None
    jobs: int | None = None
    show: bool = True

    def settings(self, listing: Listing) -> dict[str, Any]:
        """What the result depends on."""
        digest = hashlib.blake2b(digest_size=16)
        paths = dict.fromkeys(clip.path for clip in listing.clips)
        for clip in listing.clips:
            digest.update(repr(clip).encode('utf-8', 'surrogateescape'))
        for path in paths:
            digest.update(repr(file_stamp(str(listing.root / path))).encode())
        return dict(
            version=VERSION,
            folder=str(self.folder.resolve()),
            files=digest.hexdigest(),
            **{
                name: _plain(getattr(self, name))
                for name in ('modalities', 'epochs', 'minutes', 'seed', 'source', 'flips', 'encoders')
            },
        )


@dataclass
class Plan:
    """What was found and chosen.

    Attributes:
        survey: The folder.
        division: Its lists.
        chosen: What to train with.
        modalities: Of the model.
        config: The config's file.
        cached: Whether training keeps decoded clips in memory.
        time: Of an epoch, as measured before training.
    """

    survey: Survey
    division: Division
    chosen: list[Choice]
    modalities: tuple[str, ...]
    config: Path
    cached: bool
    time: EpochTime


def claim(work_dir: Path, listing: Listing, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Takes a work dir, or takes it over from an earlier run.

    Args:
        work_dir: The folder.
        listing: The folder of clips.
        settings: What the result depends on.

    Returns:
        The plan of an earlier run with the same settings, if there was one.

    Raises:
        OutputError: The folder holds anything else.
    """
    remedy = 'give another folder with --work-dir, or another --name'
    if work_dir.resolve().is_relative_to(listing.root.resolve()):
        raise OutputError(
            f"'{work_dir}' is inside the folder of clips, which stays as it is: give another folder with --work-dir"
        )
    ours = any(entry.name == ABOUT for entry in read_record(work_dir))
    if work_dir.is_dir() and not ours and (found := sorted(path.name for path in work_dir.iterdir())):
        raise OutputError(f"'{work_dir}' holds {found[0]}, which this command did not write: {remedy}")
    check_folder(work_dir, [CONFIG_FILE, PLAN, REPORT], remedy=remedy)
    before = None
    with suppress(OSError, ValueError):
        before = json.loads((work_dir / PLAN).read_text(encoding='utf-8'))
    if before is not None and before['settings'] != settings:
        raise OutputError(f"'{work_dir}' holds a training {_difference(before['settings'], settings)}: {remedy}")
    write_output(work_dir / ABOUT, f'Written by mmav train-folder from the clips in {listing.root.resolve()}.\n')
    return before


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before.get('folder') != now['folder']:
        return f"of another folder, '{before.get('folder')}'"
    if before.get('files') != now['files']:
        return 'of this folder with other files: it has changed since'
    name = next(name for name in now if before.get(name) != now[name])
    return f'with other choices ({name}: {before.get(name)}, now {now[name]})'


def make_plan(
    options: Options, listing: Listing, out: Path, settings: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Plan:
    """Looks at a folder, makes its lists, chooses what to train with and writes the config; says all of it.

    Args:
        options: What the user asks for.
        listing: The folder.
        out: Where lists and config go.
        settings: What the result depends on.
        before: The plan of an earlier run, whose choices stand.

    Raises:
        MmavError: The folder is not one to train on.
    """
    encoders = {} if before else read_encoders(options.encoders, options.modalities or MODALITIES)
    print(f'{listing.root}: {listing.layout}')
    lists = out / LISTS
    with Journal(lists / 'check_journal.jsonl', dict(tool='train_folder', version=VERSION)) as journal:
        survey = look(listing, journal, jobs=options.jobs)
    modalities, why = survey.modalities(options.modalities)
    check_used(encoders, modalities)
    tell_files(survey, modalities)
    lengths = [
        survey.length(*clip[0:1], *clip[3:5]) for clip in listing.clips if survey.probes[clip.path].failure is None
    ]
    window, _ = choose_window(lengths)
    division = divide(survey, lists, modalities=modalities, window=window, seed=options.seed, pattern=options.source)
    tell_lists(listing, division)
    config = out / CONFIG_FILE
    if before is None:
        chosen, took = _choose(options, survey, division, config, lengths, modalities, why, encoders)
        choices = list(chosen.reasons.values())
        kept = dict(choices=[asdict(choice) for choice in choices], seconds=took._asdict())
        write_json(out / PLAN, dict(settings=dict(settings), **kept))
    else:
        choices, took = [Choice(**each) for each in before['choices']], EpochTime(**before['seconds'])
        choices = [_still(choice, config) for choice in choices]
    tell_choices(choices)
    cached = any((choice.name, choice.value) == (NAME, IN_MEMORY) for choice in choices)
    return Plan(survey, division, choices, modalities, config, cached, took)


def _still(choice: Choice, config: Path) -> Choice:
    """A choice of an earlier run; there may be less free memory now."""
    if (choice.name, choice.value) != (NAME, IN_MEMORY):
        return choice
    return fits_now(launch.prepare_config(arguments_for(config, TRAINING)))


def _choose(
    options: Options,
    survey: Survey,
    division: Division,
    config: Path,
    lengths: list[float],
    modalities: tuple[str, ...],
    why: str,
    encoders: Mapping[str, Encoder],
) -> tuple[Choices, EpochTime]:
    base_file = find_config(CONFIG).resolve()
    base = load_config(str(base_file))
    clips = len(division.clips['train'])
    chosen = choose(lengths, modalities, why_modalities=why, clips=clips, base=base, workers=options.workers)
    root = survey.listing.root.resolve()
    where: dict[str, Any] = dict(data_root=root, lists=division.files, classes=division.classes.resolve())

    def write() -> None:
        cfg = folder_config(base, chosen, **where, seed=options.seed, flips=options.flips, encoders=encoders)
        opening = (
            f'A small model for the clips in {root}, written by mmav train-folder.\n\n'
            f'Train again with changes: mmav train {config} --work-dir DIR\n'
        )
        write_output(config, config_text(base_file, base, cfg, chosen, opening=opening))

    chosen.explain('training', CONFIG, f'for few clips; flips {"on" if options.flips else "off"}')
    if encoders:
        fit_choices(chosen, encoders)
    else:
        explain_scratch(chosen)
    write()
    print('measuring how long an epoch takes ...', flush=True)
    cfg = launch.prepare_config(arguments_for(config, TRAINING))
    train, val, cache = build_lists(cfg)
    took = seconds_of_epoch(cfg, train, val)
    del train, val
    gc.collect()  # clips that were kept in memory for measuring
    limit_epochs(chosen, took, options.minutes, asked=options.epochs)
    if chosen.max_epochs == 1:
        cache = Choice(NAME, 'none', 'one epoch decodes each clip once')
    chosen.reasons[NAME] = cache
    write()
    return chosen, took


def arguments_for(config: Path, stage: str, **more: Any) -> argparse.Namespace:
    """The arguments of tools/train.py and tools/test.py for a folder of the work dir."""
    defaults: dict[str, Any] = dict(data_root=None, launcher='none', cfg_options={}, local_rank=0, amp=None, drop=None)
    work_dir = str(config.parent / stage)
    return argparse.Namespace(config=str(config), work_dir=work_dir, **{**defaults, **more})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
