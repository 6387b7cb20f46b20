"""A checkpoint whose running statistics of BatchNorm are computed anew on the training data of its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmav.class_names import trained_with
from mmav.config.edits import resolve_num_classes
from mmav.config.reading import load_checked_config
from mmav.engine import AVRunner
from mmav.engine.batch_norm import layers_with_statistics, recompute_statistics
from mmav.errors import ConfigError
from mmav.inference.trained_model import build_model, find_device
from mmav.threads import sharing_cores

_MEAN, _COUNT = '.running_mean', '.num_batches_tracked'


def has_statistics(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is that of a model with BatchNorm."""
    names = checkpoint.get('state_dict', checkpoint)
    return any(name.endswith(_MEAN) for name in names)


def with_new_statistics(
    checkpoint: Mapping[str, Any],
    config: str,
    options: Mapping[str, Any] | None = None,
    *,
    data_root: str | None = None,
    source: str = '',
) -> tuple[dict[str, Any], str]:
    """Computes the running statistics of a checkpoint's BatchNorms anew, see :mod:`mmav.engine.batch_norm`.

    Args:
        checkpoint: What its file holds; not changed.
        config: The config that it was trained with.
        options: Changes of the config, as by ``--cfg-options``.
        data_root: Folder of the data, in place of the config's.
        source: The file, for messages.

    Returns:
        Its ``meta`` and ``state_dict``, with new statistics, and a line that says what was computed.

    Raises:
        ConfigError: The config is wrong, or its model has no BatchNorm that trains.
        CheckpointError: The weights are not those of the config's model.
    """
    cfg = load_checked_config(config, dict(options or {}), data_root)
    if cfg.get('train_dataloader') is None:
        raise ConfigError(f"'{config}' has no train_dataloader, on which statistics could be computed")
    init_default_scope('mmav')
    resolve_num_classes(cfg, (trained_with(checkpoint) or {}).get('label'), loaders=['train_dataloader'])
    state = dict(checkpoint.get('state_dict', checkpoint))
    model = build_model(cfg.model, {**checkpoint, 'state_dict': dict(state)}, source, names=None)
    layers = len(layers_with_statistics(model))
    loader = cfg.train_dataloader.to_dict()
    workers, device = loader.get('num_workers') or 0, find_device(None)
    # torch refuses the first two without workers, and warns of the third without a GPU
    idle = [] if workers else ['persistent_workers', 'prefetch_factor']
    for name in [*idle, *([] if device.type == 'cuda' else ['pin_memory'])]:
        loader.pop(name, None)
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    with sharing_cores(workers):
        batches = AVRunner.build_dataloader(loader, seed=seed)
        number = recompute_statistics(
            model.to(device), tqdm(batches, unit='batch', desc='statistics of BatchNorm'), seed=seed
        )
    new = model.state_dict()
    state.update({name: new[name].cpu() for name in state if name.endswith((_MEAN, '.running_var', _COUNT))})
    told = f'running statistics of {layers} BatchNorms: computed on {number} batches of the training list'
    return dict(meta=dict(checkpoint.get('meta') or {}), state_dict=state), told
