"""Refuses config settings that nothing reads any more, and names the settings to change instead.

``max_epochs = 10`` at the top level of a config is a variable: its value is copied to where the file uses it, such as
``train_cfg = dict(max_epochs=max_epochs)``, when the file is read. A file that inherits from this one, or
``--cfg-options``, comes later and only changes the variable. Which variables are read, and where their values go, is
found by parsing the files, as MMEngine does not record it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmav.config.check import top_level_names
from mmav.errors import ConfigError, did_you_mean

_BASE = '_base_'
Place = tuple[str, ...]


class _Read(NamedTuple):
    """A variable that a statement reads.

    Attributes:
        name: The variable.
        of_base: Whether it is a variable of the bases, ``_base_.name``.
        target: The name that the statement assigns to; empty for other statements.
        place: Where it goes in the assigned value, as far as the source shows.
    """

    name: str
    of_base: bool
    target: str
    place: Place


@dataclass
class _File:
    """A file of a config.

    Attributes:
        path: The file.
        bases: Its bases.
        assigned: Top-level names that it assigns to -> the line.
        reads: What its statements read.
    """

    path: Path
    bases: list[_File] = field(default_factory=list)
    assigned: dict[str, int] = field(default_factory=dict)
    reads: list[_Read] = field(default_factory=list)

    def chain(self) -> list[_File]:
        """Itself, its bases, and theirs, each once."""
        files = {self.path: self}
        for base in self.bases:
            files.update((file.path, file) for file in base.chain())
        return list(files.values())


def check_overrides(path: str, cfg: Config, options: Iterable[str] = ()) -> None:
    """Refuses settings of a config and of ``--cfg-options`` that nothing reads.

    Ignores names that begin with an underscore, and names that code of ``custom_imports`` may read. A variable may be
    set to None to say that it is not used.

    Args:
        path: The config file.
        cfg: What was read from it, without ``--cfg-options``.
        options: Names of ``--cfg-options``.

    Raises:
        ConfigError: A changed variable was copied before, or nothing reads it.
    """
    try:
        leaf = _parse(Path(path))
    except (SyntaxError, ValueError, OSError):  # a kind of config whose variables cannot be parsed
        leaf = _File(Path(path))
    known = set(top_level_names())
    found = [
        f'{file.path}: line {file.assigned[name]}: {name}: {_advice(name, places, known)}'
        for file, name, places in _without_effect(leaf, cfg, known)
    ]
    for option in dict.fromkeys(options):
        first, *rest = option.split('.')
        if first not in known and first in cfg:
            places = _places(leaf, cfg, first, known, rest) or _same_values(cfg, first, known, rest)
            if places or not cfg.get('custom_imports'):
                found.append(f'--cfg-options {option}: {_advice(first, places, known)}')
    if found:
        raise ConfigError('\n'.join(found))


def _advice(name: str, places: Sequence[str], known: set[str]) -> str:
    if not places:
        hint = did_you_mean(name, known)
        return f'nothing reads this name{hint or "; remove it, or rename it"}'
    remedy = 'move the data with --data-root DIR, or ' if name == 'data_root' else ''
    return f'nothing reads this variable any more, as its value was already copied; {remedy}set {_listed(places)}'


def _listed(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f'{", ".join(places[:-1])} and {places[-1]}'


def _without_effect(leaf: _File, cfg: Config, known: set[str]) -> Iterator[tuple[_File, str, list[str]]]:
    """Variables that a file changes, or the last one defines, that nothing reads; and where their values went."""
    for file in leaf.chain():
        for name in file.assigned:
            if name in known or name.startswith('_') or not file.bases or _goes(file, name, leaf, known):
                continue
            places = [place for base in file.chain()[1:] for place in _goes(base, name, file, known)]
            if places or (file is leaf and not cfg.get('custom_imports')):
                yield file, name, _existing(cfg, places, ())


def _places(leaf: _File, cfg: Config, name: str, known: set[str], rest: Sequence[str]) -> list[str]:
    """Where the values of a variable went, from any file."""
    return _existing(cfg, [place for file in leaf.chain() for place in _goes(file, name, leaf, known)], rest)


def _goes(file: _File, name: str, leaf: _File, known: set[str], met: tuple[tuple[Path, str], ...] = ()) -> list[Place]:
    """Where a value that a file assigns to a name goes: places below names that are read when the config is run."""
    if name not in file.assigned or (file.path, name) in met:
        return []
    met = (*met, (file.path, name))
    found: list[Place] = [(name,)] if name in known else []
    for other in leaf.chain():
        above = other is not file and any(base.path == file.path for base in other.chain())
        for read in other.reads:
            if read.name != name or not (above if read.of_base else other is file):
                continue
            if not read.target:  # a loop, a condition, a call: anything may come of it
                found.append(())
            found += [(*place, *read.place) for place in _goes(other, read.target, leaf, known, met)]
    return list(dict.fromkeys(found))


def _existing(cfg: Config, places: Iterable[Place], rest: Sequence[str]) -> list[str]:
    """The places that exist in the config, with the settings inside them."""
    names: list[str] = []
    for place in places:
        if not place:
            continue
        whole, value = [], cfg
        for key in (*place, *rest):
            value, there = _inside(value, key)
            if not there:
                break
            whole.append(key)
        names.append('.'.join(whole))
    # an object with two names is reported once
    return [name for name in dict.fromkeys(names) if name]


def _inside(value: Any, key: str) -> tuple[Any, bool]:
    if isinstance(value, (Mapping, Config)):
        return (value[key], True) if key in value else (None, False)
    if isinstance(value, (list, tuple)) and key.isdecimal() and int(key) < len(value):
        return value[int(key)], True
    return None, False


def _same_values(cfg: Config, name: str, known: set[str], rest: Sequence[str]) -> list[str]:
    """Where a config that was dumped as a whole has the value of a variable."""
    wanted = cfg[name]

    def search(value: Any, place: Place) -> Iterator[Place]:
        if value == wanted and (place[-1] == name or isinstance(wanted, (dict, list, tuple))):
            yield place
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from search(item, (*place, str(key)))
        elif isinstance(value, (list, tuple)):
            for key, item in enumerate(value):
                yield from search(item, (*place, str(key)))

    found = [place for key in cfg if key in known for place in search(cfg[key], (key,))]
    return _existing(cfg, found, rest)


def _parse(path: Path) -> _File:
    """Reads a file and its bases.

    Raises:
        SyntaxError, ValueError, OSError: It has another format, such as YAML, or its bases cannot be determined.
    """
    file = _File(path.resolve())
    for statement in _statements(ast.parse(path.read_text(encoding='utf-8')).body):
        for target, place in _targets(statement):
            if target == _BASE:
                bases = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                file.bases = [_parse(path.parent / name) for name in ([bases] if isinstance(bases, str) else bases)]
                continue
            # None means that a variable is not used
            if target and getattr(getattr(statement, 'value', None), 'value', '') is not None:
                file.assigned.setdefault(target, getattr(statement, 'lineno', 0))
            file.reads += _reads(getattr(statement, 'value', statement) if target else statement, target, place)
    return file


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The simple statements of a file in line order, and the heads of loops and other compound statements."""
    for node in body:
        if isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
            yield from _statements(ast.iter_child_nodes(node))
        elif isinstance(node, ast.ExceptHandler):
            yield from _statements(node.body)
        else:
            yield node


def _targets(statement: ast.AST) -> list[tuple[str, Place]]:
    """The names that a statement assigns to, and where inside them; one empty name for complex statements."""
    if isinstance(statement, ast.Assign):
        return [_target(node) for node in statement.targets]
    if isinstance(statement, (ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
        return [_target(statement.target)]
    return [('', ())]


def _target(node: ast.expr) -> tuple[str, Place]:
    place: list[str] = []
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        if isinstance(node, ast.Attribute):
            place.insert(0, node.attr)
        elif isinstance(node.slice, ast.Constant):
            place.insert(0, str(node.slice.value))
        else:
            place.clear()
        node = node.value
    return (node.id, tuple(place)) if isinstance(node, ast.Name) else ('', ())


def _reads(node: ast.AST, target: str, place: Place) -> Iterator[_Read]:
    """The variables that an expression reads, and where they go in its value."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == _BASE:
        yield _Read(node.attr, True, target, place)
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == _BASE:
        if isinstance(node.slice, ast.Constant):
            yield _Read(str(node.slice.value), True, target, place)
    elif isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            yield _Read(node.id, False, target, place)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        for argument in node.args:
            yield from _reads(argument, target, place)
        for keyword in node.keywords:
            yield from _reads(keyword.value, target, (*place, keyword.arg) if keyword.arg else place)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            inside = (*place, str(key.value)) if isinstance(key, ast.Constant) else place
            yield from _reads(value, target, inside)
    elif isinstance(node, (ast.List, ast.Tuple)):
        known = True
        for index, item in enumerate(node.elts):
            known = known and not isinstance(item, ast.Starred)
            yield from _reads(item, target, (*place, str(index)) if known else place)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _reads(child, target, place)
