"""Checkpoints that survive a kill and cannot run code: written whole or not at all, loaded as plain data.

Our checkpoints hold tensors and plain Python values, nothing else, so that ``torch.load(weights_only=True)`` reads them
with an empty allow-list.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from logging import WARNING
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from safetensors.torch import load_file as load_safetensors
from torch import Tensor

from mmav.download import cache_folder, cached_name, fetch
from mmav.errors import CheckpointError
from mmav.weight_files import is_safetensors, why_no_weights

_STEP = re.compile(r'(?:epoch|iter|resume_iter)_(\d+)\.pth')
_ADDRESS = re.compile(r'(\w[\w:.+-]*)://')
NAMES_SHOWN = 3
# in the meta of a checkpoint of what trained (mmav.engine.small_checkpoints): the weights that it leaves out
BASE = 'base'
# exact types: numpy's float64 is a float too, and would be written as numpy's
_PLAIN = (str, bytes, bool, int, float, complex, torch.dtype, torch.device, torch.Size)


def to_plain(value: Any) -> Any:
    """Turns config dicts, numpy values, history buffers and paths into tensors and built-in types, recursively.

    >>> to_plain({'lr': np.float32(0.5), 'where': Path('a')})
    {'lr': 0.5, 'where': 'a'}
    """
    if value is None or type(value) in _PLAIN or isinstance(value, Tensor):
        return value
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return dict(
            values=torch.from_numpy(np.asarray(values, dtype=np.float64)),
            counts=torch.from_numpy(np.asarray(counts, dtype=np.float64)),
            max_length=value.max_length,
        )
    if isinstance(value, Mapping):
        plain: dict = OrderedDict() if isinstance(value, OrderedDict) else {}
        plain.update((key, to_plain(item)) for key, item in value.items())
        if hasattr(value, '_metadata'):  # a module's state_dict carries the versions of its modules here
            plain._metadata = value._metadata  # type: ignore[attr-defined]
        return plain
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    for base in (int, float):
        if isinstance(value, base):
            return base(value)
    return str(value)


def restore_history(message_hub: dict) -> None:
    """Puts MMEngine's history buffers back where :func:`to_plain` wrote their numbers; changes ``message_hub``."""
    scalars = message_hub.get('log_scalars', {})
    for name, entry in scalars.items():
        if isinstance(entry, dict):
            scalars[name] = HistoryBuffer(
                entry['values'].cpu().tolist(), entry['counts'].cpu().tolist(), entry['max_length']
            )


def require_checkpoint(path: str | Path) -> None:
    """Fails where there is no such file, before data are read and a model is built; an address is not looked up.

    Raises:
        CheckpointError: There is none, or it is an address of another kind than ``http(s)://``.
    """
    address = _ADDRESS.match(str(path))
    if address and address[1] not in ('http', 'https'):
        raise CheckpointError(f"'{path}': download the file and give its path")
    if not address and not Path(path).expanduser().is_file():
        raise CheckpointError(f"no checkpoint '{path}': give the path of a .pth or .safetensors file")


def load_checkpoint_file(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Loads a checkpoint; a file that would run code on loading is refused.

    Safetensors, as the weights of timm and transformers are distributed, are told by what they hold, not by their name.

    Args:
        path: A file; or an ``http(s)://`` address, of which torch's cache gets a copy, see :func:`mmav.download.fetch`.
        map_location: As in ``torch.load``.

    Returns:
        What the file holds: a training checkpoint (``meta``, ``state_dict``, ...) or a bare state dict.

    Raises:
        CheckpointError: No such file, another kind of address, not a checkpoint, damaged, or a pickle with code.
    """
    require_checkpoint(path)
    address = _ADDRESS.match(str(path))
    path = fetch(str(path), cache_folder() / cached_name(str(path))) if address else Path(path).expanduser()
    try:
        if is_safetensors(path):
            device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
            return load_safetensors(path, device=str(device))
        with open(path, 'rb') as file:  # torch goes by the name of a path
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen types, by where the damage is
        raise CheckpointError(_why_not_loaded(path, error)) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"'{path}' holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def _why_not_loaded(path: Path, error: Exception) -> str:
    refused = re.search(r'GLOBAL (\S+)', str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused:
        return (
            f"'{path}' holds Python objects that could run code ({refused[1]}) and is refused; if you trust it, "
            f"convert it: torch.save(torch.load('{path.name}', weights_only=False)['state_dict'], 'weights.pth')"
        )
    try:
        what = why_no_weights(path)
    except OSError as unreadable:
        return f"cannot read '{path}': {unreadable.strerror or unreadable}"
    found = f' ({what})' if what else ''
    remedy = 'give another file; to resume training, --resume alone takes the newest whole one'
    return f"'{path}' is not a checkpoint, or is damaged{found}; {remedy}"


def weights_of(filename: str) -> dict[str, Tensor]:
    """The weights of a checkpoint, a path or an address, without the prefix of a model wrapped for distribution.

    Raises:
        CheckpointError: See :func:`load_checkpoint_file`.
    """
    checkpoint = load_checkpoint_file(filename)
    return {name.removeprefix('module.'): value for name, value in checkpoint.get('state_dict', checkpoint).items()}


def leaves_out(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint leaves frozen weights of a file out."""
    return bool((checkpoint.get('meta') or {}).get(BASE))


def require_every_weight(checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuses a checkpoint that leaves weights out, where no model can supply them.

    Args:
        checkpoint: What its file holds.
        source: The file, for the message.

    Raises:
        CheckpointError: It leaves weights out.
    """
    if leaves_out(checkpoint):
        raise CheckpointError(
            f"'{source}' holds only what was trained on top of {' and '.join(checkpoint['meta'][BASE]['sources'])}: "
            'make it whole with `mmav merge-lora`'
        )


def is_whole(path: str | Path) -> bool:
    """Tells whether a file is a checkpoint that can be resumed from: every checksum is right, every part is there."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not whole
        return False
    return isinstance(checkpoint, dict) and {'meta', 'state_dict', 'optimizer', 'message_hub'} <= checkpoint.keys()


def last_checkpoint(work_dir: str | Path) -> Path | None:
    """The file that ``last_checkpoint`` names, there or not; None where nothing is recorded."""
    record = Path(work_dir) / 'last_checkpoint'
    # only the name counts: the work dir may have been moved
    return Path(work_dir) / Path(os.fsdecode(record.read_bytes()).strip()).name if record.is_file() else None


def find_resume(work_dir: str | Path) -> str | None:
    """Finds the newest whole checkpoint of a work dir.

    It starts from the file that ``last_checkpoint`` names; one of a later step, or of the other kind (epoch or
    iteration), that was written after it (the process was killed in between) goes first, older ones follow. Damaged
    files are passed over with a warning.

    Returns:
        Its path, or None where there is none.
    """
    for path in _resume_candidates(Path(work_dir)):
        if is_whole(path):
            return str(path)
        print_log(f"'{path}' is damaged or cannot be resumed from; trying an older one", 'current', level=WARNING)
    return None


def _resume_candidates(work_dir: Path) -> list[Path]:
    step = {path: int(match[1]) for path in work_dir.glob('*.pth') if (match := _STEP.fullmatch(path.name))}
    written = {path: path.stat().st_mtime_ns for path in step}
    by_age = sorted(step, key=lambda path: (written[path], step[path]), reverse=True)
    last = last_checkpoint(work_dir)
    if last not in step:
        return by_age
    newer = [path for path in by_age if written[path] >= written[last] and path != last and _later(path, last, step)]
    return [*newer, last, *(path for path in by_age if path != last and path not in newer)]


def _later(path: Path, last: Path, step: Mapping[Path, int]) -> bool:
    same_kind = path.name.split('_')[0] == last.name.split('_')[0]
    return step[path] > step[last] if same_kind else path.stat().st_mtime_ns > last.stat().st_mtime_ns


def describe_mismatch(missing: list[str], unexpected: list[str], reshaped: list[str]) -> str:
    """Counts the weights that do not fit and names the first ones; empty where all fit."""
    kinds = (('missing', missing), ('unknown', unexpected), ('of another shape', reshaped))
    return ', '.join(
        f'{len(names)} {kind} ({", ".join(names[:NAMES_SHOWN])}{", ..." if len(names) > NAMES_SHOWN else ""})'
        for kind, names in kinds
        if names
    )
