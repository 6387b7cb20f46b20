"""Reads a config and applies what the command line says of it."""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmav.config.check import check_config, top_level_names
from mmav.config.edits import set_data_root
from mmav.config.overrides import check_overrides
from mmav.errors import ConfigError, did_you_mean, one_line
from mmav.outputs import is_first
from mmav.shipped import find_config

# between two words; MMEngine removes all of a value
_SPACE = re.compile(r'[^\s,(\[=]\s+[^\s,)\]]')


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
    if _SPACE.search(text):
        raise argparse.ArgumentTypeError(
            f'{text!r}: a value with a space in it, which would be lost, goes into a config'
        )
    return text


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
        if is_first():
            print(f"'{path}' is not here; using mmav's own: {found}", file=sys.stderr, flush=True)
        path = str(found)
    if os.getcwd() not in sys.path:
        # custom_imports=dict(imports=['my_neck']) finds my_neck.py in the current folder; last, to hide nothing
        sys.path.append(os.getcwd())
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: it can raise anything
        remedy = ''
        if isinstance(error, FileNotFoundError) and str(error.filename).endswith('.py'):
            remedy = (
                "; a path in _base_ is relative to the config; to inherit from mmav's configs, copy them beside it: "
                'cp -r "$(mmav configs --path)" configs'
            )
        raise ConfigError(f"cannot read the config '{path}': {one_line(error)}{remedy}") from error
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
