"""Every patch that mmav applies to MMEngine; :func:`apply` applies them all.

Importing mmav leaves MMEngine unchanged. The constructor of :class:`~mmav.engine.runner.AVRunner` calls :func:`apply`,
so a script that uses ``Runner.from_cfg`` with its config needs nothing else; one with MMEngine's own ``Runner`` calls
it first. The patches, and why a subclass cannot replace them:

* ``mmengine.config.config.FormatCode``: caches its results. Every log, dump and checkpoint of a run has yapf format
  the same config again, which takes longer than the rest of the start-up; ``Config`` calls the function by this name.
* The storage backend ``local``: writes a file completely or not at all. ``mmengine.runner.save_checkpoint``, which the
  Runner and its hooks call, writes straight to the final path, so a kill leaves a truncated checkpoint.
* The schemes of ``CheckpointLoader``: read by :func:`mmav.checkpoints.load_checkpoint_file`. MMEngine's readers
  unpickle what they download; ``init_cfg=dict(type='Pretrained')`` and ``CheckpointHook(published_keys=...)`` use them.
* ``mmengine.runner.runner.turn_on_activation_checkpointing``: ours, which supports levels and ranges of blocks.
  ``Runner.train`` calls the function by this name between initialising the weights and loading a checkpoint.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import config as mmengine_config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import CheckpointLoader
from mmengine.runner import runner as mmengine_runner
from yapf.yapflib.yapf_api import FormatCode

from mmav.checkpoints import load_checkpoint_file
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.files import atomic_write


class AtomicLocalBackend(LocalBackend):
    """MMEngine's backend for local files, but a file is written completely or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes to a file, see :func:`mmav.files.atomic_write`."""
        atomic_write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Writes text to a file, see :func:`mmav.files.atomic_write`."""
        atomic_write(filepath, obj.encode(encoding))


def load_from_file(filename: str, map_location: Any = None) -> dict:
    """MMEngine's reader of checkpoints, see :func:`mmav.checkpoints.load_checkpoint_file`."""
    return load_checkpoint_file(filename, map_location)


@lru_cache(maxsize=8)
def _format(text: str, style: tuple[tuple[str, Hashable], ...]) -> tuple[str, bool]:
    return FormatCode(text, style_config=dict(style))


def format_code(text: str, *, style_config: Mapping[str, Hashable]) -> tuple[str, bool]:
    """Formats Python code like yapf's ``FormatCode``, with a cache.

    Args:
        text: Python code.
        style_config: Names and values of yapf's style.

    Returns:
        The formatted code, and whether it differs.
    """
    return _format(text, tuple(sorted(style_config.items())))


def apply() -> None:
    """Applies the patches listed above; further calls do nothing."""
    mmengine_config.FormatCode = format_code
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')
    CheckpointLoader.register_scheme(prefixes=list(CheckpointLoader._schemes), loader=load_from_file, force=True)
    mmengine_runner.turn_on_activation_checkpointing = turn_on_activation_checkpointing
