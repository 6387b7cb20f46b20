"""What each run of an ablation changes of its config, and a fingerprint that tells runs of other settings apart."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmav.analysis.ablation.rows import Ablation, Row
from mmav.config.edits import DATALOADERS, dicts_within, leaves_of
from mmav.config.reading import key_value, load_checked_config, load_config
from mmav.errors import ConfigError

SEED = 'randomness.seed'
# what a run depends on in its place and speed, not in its results
PLACES = (
    'work_dir',
    'data_root',
    'cache',
    'shards',
    'num_workers',
    'persistent_workers',
    'prefetch_factor',
    'pin_memory',
)
LOGGING = ('visualizer', 'log_level', 'log_processor', 'launcher', 'env_cfg')
HOOKS = ('logger', 'checkpoint', 'resume_point', 'throughput', 'timer', 'profiler')


@dataclass(frozen=True)
class Settings:
    """How a row runs.

    Attributes:
        config: The config's file.
        options: ``K=V`` as of ``--cfg-options``, without the seed and the checkpoints of other rows.
        digest: Of all that its results depend on, but for the seed.
        epochs: How many it trains; None if it trains by iterations.
        keeps_features: Whether its test can keep features, for clusters.
    """

    config: Path
    options: tuple[str, ...]
    digest: str
    epochs: int | None
    keeps_features: bool


def settings_of(
    row: Row, ablation: Ablation, *, options: Sequence[str] = (), data_root: str | None = None, validates: bool = False
) -> Settings:
    """Settles how a row runs, and checks its config.

    Args:
        row: One that is trained.
        ablation: Of all rows.
        options: Of the command line; they win over those of the file.
        data_root: As of ``tools/train.py``.
        validates: Whether a shortened training validates as often as the config says, not only at its end.

    Raises:
        ConfigError: The config or an option is wrong.
    """
    if row.file is None:
        raise ConfigError(f'row {row.title!r} averages others, and has no settings')
    given = [*ablation.options, *row.options, *options]
    for option in given:
        if option.partition('=')[0] == SEED:
            raise ConfigError(f'row {row.title!r}: {option} would give all runs one seed: give --seeds')
    plain = load_config(str(row.file))
    shortened = [*_batch(ablation.batch_size), *_epochs(plain, ablation.epochs, row, validates=validates)]
    words = (*shortened, *given)
    try:
        cfg = load_checked_config(str(row.file), parsed(words), data_root)
    except ConfigError as error:
        raise ConfigError(f'row {row.title!r}: {error}') from error
    return Settings(
        config=row.file,
        options=words,
        digest=digest_of(cfg, row.needs),
        epochs=(cfg.get('train_cfg') or {}).get('max_epochs'),
        keeps_features=(cfg.get('model') or {}).get('type') == 'AVClassifier',
    )


def parsed(options: Iterable[str]) -> dict[str, Any]:
    """Options as the tools read them: name -> value.

    >>> parsed(['a.b=1', 'c=[x,2]'])
    {'a.b': 1, 'c': ['x', 2]}
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, type=key_value, default={})
    words = list(options)
    return dict(parser.parse_args(['--cfg-options', *words] if words else []).cfg_options)


def digest_of(cfg: Config, needs: Sequence[tuple[str, str]] = ()) -> str:
    """A digest of all in a config that results depend on.

    Not the seed, nor folders, workers, caches, the log and what is saved: two machines may differ in these.

    Args:
        cfg: The config, with all options.
        needs: Options whose values are the checkpoints of other rows.
    """
    plain = copy.deepcopy(cfg.to_dict())
    for name in (*LOGGING, 'work_dir', 'data_root', 'resume'):
        plain.pop(name, None)
    (plain.get('randomness') or {}).pop('seed', None)
    for name in HOOKS:
        (plain.get('default_hooks') or {}).pop(name, None)
    for part in dicts_within(plain):
        for name in PLACES:
            part.pop(name, None)
    text = json.dumps([plain, sorted(needs)], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def same_list(cfg: Mapping[str, Any]) -> str | None:
    """The list that a config both validates and tests on; None if there is none."""
    lists = []
    for loader in DATALOADERS[1:]:
        parts = leaves_of((cfg.get(loader) or {}).get('dataset'))
        lists.append([(part.get('ann_file') or dict(part), part.get('data_root')) for part in parts])
    both = [str(name) for name, root in lists[0] if (name, root) in lists[1]]
    return both[0] if both else None


def _batch(batch_size: int | None) -> list[str]:
    return [] if batch_size is None else [f'train_dataloader.batch_size={batch_size}']


def _epochs(cfg: Mapping[str, Any], epochs: int | None, row: Row, *, validates: bool) -> list[str]:
    """The overrides that make a config's schedule one of so many epochs: its parts keep their shares."""
    if epochs is None:
        return []
    before = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not before:
        raise ConfigError(f'row {row.title!r}: Epochs: {epochs} has no effect, as {row.config} trains by iterations')
    words = [f'train_cfg.max_epochs={epochs}']
    if not validates:
        words.append(f'train_cfg.val_interval={epochs}')
    schedule = cfg.get('param_scheduler') or ()
    parts = (
        {'': schedule} if isinstance(schedule, Mapping) else {f'.{place}': part for place, part in enumerate(schedule)}
    )
    for place, part in parts.items():
        if not part.get('by_epoch', True):
            continue
        scaled: dict[str, Any] = {
            key: part[key] * epochs / before for key in ('begin', 'end', 'T_max') if part.get(key)
        }
        if any(value != int(value) for value in scaled.values()) and not part.get('convert_to_iter_based'):
            scaled['convert_to_iter_based'] = True  # which steps once an epoch cannot begin or end within one
        for key in ('milestones', 'step_size', 'periods'):
            if part.get(key):
                whole = [max(round(value * epochs / before), 1) for value in _as_list(part[key])]
                scaled[key] = f'[{",".join(map(str, whole))}]' if key != 'step_size' else whole[0]
        words += [f'param_scheduler{place}.{key}={_number(value)}' for key, value in scaled.items()]
    return words


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)
