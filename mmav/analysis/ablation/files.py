"""Reads which rows an ablation has: from a file of its own, from a metafile's section, or from a list of configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmav.analysis.ablation.rows import SEEDS, Ablation, Row
from mmav.analysis.evidence.stated import Comparison
from mmav.config.reading import key_value
from mmav.errors import ConfigError, did_you_mean, one_line
from mmav.files import read_text
from mmav.shipped import find_config

SECTION = 'Ablation'
# what a file says; the last ones are notes for readers
KEYS = ('Dataset', 'Metric', 'Seeds', 'Rows', 'Comparisons', 'Baseline', 'Lines')
SETTINGS = ('Options', 'Epochs', 'Batch Size', 'Margin')
NOTES = ('Command', 'Machine', 'Note')
ROW_KEYS = ('Row', 'Config', 'Name', 'Parts', 'Needs', 'Options', 'Seeds')
# the figures that the report stores in a metafile's rows
STORED = ('top-1', 'ARI', 'homogeneity')
COMPARISON_KEYS = ('Better', 'Than', 'Source')
SUFFIXES = ('.yml', '.yaml')


def read_ablation(path: str | Path) -> Ablation:
    """Reads the file of an ablation, or the section ``Ablation`` of a metafile.

    Paths of configs are relative to the current folder, to the file's, or names of configs that come with mmav.

    Raises:
        ConfigError: It is not there, cannot be read, or has an unknown key; a config is missing; or the rows do not go
            together, see :class:`~mmav.analysis.ablation.rows.Ablation`.
    """
    text = read_text(path, 'file of an ablation', remedy='give a .yml with Rows, or configs')
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{path}' is not YAML: {one_line(error)}") from error
    if isinstance(content, Mapping) and SECTION in content:
        content = content[SECTION]
    if not isinstance(content, Mapping) or 'Rows' not in content:
        raise ConfigError(f"'{path}' is no ablation: it has no Rows")
    _check_keys(content, (*KEYS, *SETTINGS, *NOTES), str(path))
    rows = [_row(entry, path) for entry in _list_of(content, 'Rows', path)]
    return Ablation(
        dataset=str(content.get('Dataset', Path(path).stem)),
        rows=tuple(rows),
        metric=str(content.get('Metric', 'top1')),
        seeds=_seeds(content, str(path)),
        comparisons=tuple(_comparison(entry, path) for entry in _list_of(content, 'Comparisons', path)),
        baseline=content.get('Baseline'),
        lines={str(name): float(value) for name, value in (content.get('Lines') or {}).items()},
        options=_options(content, str(path)),
        epochs=_count(content, 'Epochs', path),
        batch_size=_count(content, 'Batch Size', path),
        margin=_margin(content, path),
        source=str(path),
    )


def ablation_of(configs: Sequence[str], seeds: Sequence[int] = SEEDS) -> Ablation:
    """An ablation of a list of configs, named by their files.

    Raises:
        ConfigError: The list is empty, a config is missing or given twice.
    """
    if not configs:
        raise ConfigError('no config is given: name some, or the .yml of an ablation')
    rows = [Row(Path(name).stem, name, file=find_config(name)) for name in configs]
    return Ablation('the test list', tuple(rows), seeds=tuple(seeds), source=' '.join(configs))


def chosen(ablation: Ablation, text: str | None) -> tuple[Row, ...]:
    """The rows that ``--only TEXT`` means: those that have it in their title, folder or config, and what they need.

    What an average is made of is meant where no trained row has the text.

    Raises:
        ConfigError: There is none.
    """
    found = [
        row for row in ablation.rows if not text or any(text in name for name in (row.title, row.stem, row.config))
    ]
    if not found:
        raise ConfigError(f"--only {text}: no row's config has this in its name")
    averages = all(row.parts for row in found)
    needed = {other for row in found if averages or not row.parts for other in ablation.behind(row)}
    return tuple(row for row in ablation.rows if row in found or row in needed)


def _row(entry: Any, path: str | Path) -> Row:
    if not isinstance(entry, Mapping) or 'Row' not in entry:
        raise ConfigError(f"'{path}': Rows: {entry!r} has no Row, its name in the table")
    title = str(entry['Row'])
    where = f"'{path}', row {title!r}"
    _check_keys(entry, (*ROW_KEYS, *STORED), where)
    parts = tuple(map(str, _list_of(entry, 'Parts', where)))
    needs = entry.get('Needs') or {}
    if not isinstance(needs, Mapping):
        raise ConfigError(f'{where}: Needs is {needs!r}: give option: row')
    config, name = str(entry.get('Config', '')), str(entry.get('Name', ''))
    if parts and ('Needs' in entry or 'Options' in entry):
        raise ConfigError(f'{where}: an average of Parts trains nothing: Needs and Options have no effect')
    if not parts and not config:
        raise ConfigError(f'{where}: it has no Config, and no Parts')
    if parts and not (config or name):
        raise ConfigError(f'{where}: it averages Parts: give it a Name')
    if len(parts) == 1:
        raise ConfigError(f'{where}: Parts has one row: give two or more')
    return Row(
        title,
        config or name,
        parts,
        name=name,
        needs=tuple((str(option), str(row)) for option, row in needs.items()),
        options=_options(entry, where),
        seeds=_seeds(entry, where) if 'Seeds' in entry else (),
        file=None if parts else _config_file(config, path, where),
    )


def _config_file(config: str, path: str | Path, where: str) -> Path:
    beside = Path(path).parent / config
    if not Path(config).is_file() and beside.is_file():
        return beside
    try:
        return find_config(config)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error


def _comparison(entry: Any, path: str | Path) -> Comparison:
    if not isinstance(entry, Mapping) or not {'Better', 'Than'} <= entry.keys():
        raise ConfigError(f"'{path}': Comparisons: {entry!r}: give Better and Than, each a row")
    _check_keys(entry, COMPARISON_KEYS, f"'{path}', Comparisons")
    return Comparison(str(entry['Better']), str(entry['Than']), str(entry.get('Source', '')))


def _seeds(content: Mapping[str, Any], where: str) -> tuple[int, ...]:
    seeds = content.get('Seeds', list(SEEDS))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f'{where}: Seeds: {seeds!r}: give a list of whole numbers')
    return tuple(seeds)


def _count(content: Mapping[str, Any], key: str, path: str | Path) -> int | None:
    value = content.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigError(f"'{path}': {key}: {value!r}: give a whole number above 0")
    return value


def _margin(content: Mapping[str, Any], path: str | Path) -> float | None:
    value = content.get('Margin')
    if value is not None and (type(value) not in (int, float) or not value > 0):
        raise ConfigError(f"'{path}': Margin: {value!r}: give a number above 0, 0.01 for one point")
    return value


def _options(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """``Options``, a dict of K: V or a list of K=V, as words of ``--cfg-options``."""
    given = content.get('Options') or ()
    if isinstance(given, Mapping):
        return tuple(f'{key}={_word(value)}' for key, value in given.items())
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigError(f'{where}: Options: {given!r}: give K: V of each')
    try:
        return tuple(key_value(str(option)) for option in given)
    except Exception as error:  # argparse's
        raise ConfigError(f'{where}: Options: {error}') from error


def _word(value: Any) -> str:
    """A value as ``--cfg-options`` reads it."""
    return f'[{",".join(map(_word, value))}]' if isinstance(value, list) else str(value)


def _list_of(content: Mapping[str, Any], key: str, where: str | Path) -> list[Any]:
    found = content.get(key) or []
    if not isinstance(found, list):
        raise ConfigError(f'{where}: {key}: {found!r}: give a list')
    return found


def _check_keys(content: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f'{where}: there is no key {key!r}{did_you_mean(str(key), known)}')
