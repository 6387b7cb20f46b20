"""Whether the decoded clips of a folder fit into memory, where each is decoded only once."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.analysis.folder.choices import Choice
from mmav.datasets.cache_folder import RAM, size_of
from mmav.errors import ConfigError
from mmav.registry import DATASETS

# the lists that are read more than once
_PARTS = ('train', 'val')
NAME, IN_MEMORY = 'cache', 'in memory'


def build_lists(cfg: Config) -> tuple[Any, Any, Choice]:
    """Builds the lists for training and validation, with a cache in memory if their clips fit into it.

    Args:
        cfg: A checked config without a cache.

    Returns:
        Both datasets, and the choice in words.
    """
    init_default_scope('mmav')
    try:
        train, val = (_build(cfg, part, cache=RAM) for part in _PARTS)
    except ConfigError as error:
        gc.collect()  # what was built counts as promised until it is gone
        train, val = (_build(cfg, part) for part in _PARTS)
        # without the remedies, which are of a config
        why = str(error).removeprefix(f"cache='{RAM}': ").split(';')[0]
        for each in (train, val):
            why = why.replace(str(each.ann_file), Path(each.ann_file).name)
        return train, val, Choice(NAME, 'none', f'{why}: each epoch decodes the files again')
    room = train.decoded.room
    need = size_of(train.decoded.need + val.decoded.need)
    why = f'{need} of {size_of(room.free)} free {room.what}; from the second epoch on, nothing is decoded'
    return train, val, Choice(NAME, IN_MEMORY, why)


def fits_now(cfg: Config) -> Choice:
    """Whether the clips fit, for a run that goes on later than the choice was made.

    Args:
        cfg: A checked config without a cache.
    """
    *datasets, choice = build_lists(cfg)
    datasets.clear()
    gc.collect()
    return choice


def _build(cfg: Config, part: str, **more: str) -> Any:
    return DATASETS.build(dict(cfg[f'{part}_dataloader']['dataset'], **more))
