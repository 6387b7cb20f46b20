"""What prepared clips depend on, as a name: other settings, other code or another library, another name."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import uuid
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from mmav.datasets.cache_folder import PREPARED
from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.errors import ConfigError

# Changes with the format of stored items.
FORMAT = 1
_PACKAGE = Path(__file__).parents[1]


def identity_of(place: str, fixed: Sequence[Any], configs: Sequence[Any], about: Sequence[Any]) -> str:
    """A name that depends on all that every item depends on: the steps, their code and its libraries.

    Args:
        place: The cache, for the message.
        fixed: The deterministic steps.
        configs: The same as the config has them: dicts, or the objects.
        about: What else items depend on, as JSON holds it.

    Returns:
        40 hex digits; of a step without a config, or without a file that defines it, others each time.

    Raises:
        ConfigError: A step has no config, and the name is to be found again in a later run.
    """
    built = [type(step).__name__ for step, config in zip(fixed, configs, strict=True) if step is config]
    if built and place != PREPARED:
        raise ConfigError(
            f'cache={place!r} needs each step of the pipeline as a dict, to know its settings in a later run, but '
            f"{built[0]} is an object: give its config, or cache='{PREPARED}'"
        )
    if built:
        return uuid.uuid4().hex
    versions: list[Any] = [
        FORMAT,
        av.__version__,
        av.library_versions,
        cv2.__version__,
        np.__version__,
        torch.__version__,
    ]
    versions += [metadata.version(package) for step in fixed for package in getattr(step, 'packages', ())]
    code = [_code_of(type(step)) for step in fixed]
    # what a config names, such as a folder with an extractor's settings, can change while the name stays
    found = [step.describe() for step in fixed if isinstance(step, Spectrogram)]
    key = json.dumps([versions, code, configs, found, about], default=repr)
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _code_of(kind: type) -> str:
    """A checksum of the code of a step: its own module, and of ours all that reads and transforms clips."""
    try:
        file = Path(inspect.getfile(kind))
    except (OSError, TypeError):  # defined in a console
        return uuid.uuid4().hex
    ours = _package_code() if _PACKAGE in file.parents else ''
    return ours or hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _package_code() -> str:
    files = sorted(file for name in ('media', 'transforms') for file in (_PACKAGE / 'datasets' / name).glob('*.py'))
    return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
