"""A fine-tuned model as a plain one: LoRA merged into the weights, and every weight in the checkpoint."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.adapting import position_grids
from mmav.checkpoints import to_plain
from mmav.class_names import trained_with
from mmav.config.edits import resolve_num_classes
from mmav.engine.label_kinds import MULTI_LABEL
from mmav.errors import CheckpointError
from mmav.inference.trained_model import build_model
from mmav.models.lora import lora_layers, merge_lora
from mmav.outputs import write_output


def merged(cfg: Config, checkpoint: Mapping[str, Any], source: str) -> tuple[Config, dict[str, Any], int]:
    """Makes a checkpoint whole and plain.

    Args:
        cfg: The config that it was trained with; not changed.
        checkpoint: What its file holds.
        source: The file, for messages.

    Returns:
        The config without LoRA, the checkpoint for it, which has weights but nothing to resume from, and how many
        layers were merged.

    Raises:
        CheckpointError: It does not fit the config, or is plain already.
    """
    init_default_scope('mmav')
    cfg = copy.deepcopy(cfg)
    names = trained_with(checkpoint)
    resolve_num_classes(cfg, (names or {}).get('label'))
    whole = {**checkpoint, 'state_dict': dict(checkpoint.get('state_dict', checkpoint))}
    model = build_model(cfg.model, whole, source, names=None)
    number = len(checkpoint.get('state_dict', checkpoint))
    adapted = len(lora_layers(model))
    merge_lora(model)
    if not adapted and len(model.state_dict()) <= number:
        raise CheckpointError(f"'{source}' has no LoRA and every weight: there is nothing to merge")
    for part in (*cfg.model.get('backbones', {}).values(), cfg.model.get('neck')):
        if part:
            part.pop('lora', None)
    noted = checkpoint.get('meta') or {}
    meta = {key: noted[key] for key in ('dataset_meta', 'mmengine_version', MULTI_LABEL) if key in noted}
    meta['position_grids'] = position_grids(model)
    return cfg, to_plain(dict(meta=meta, state_dict=model.state_dict())), adapted


def write_merged(cfg: Config, checkpoint: Mapping[str, Any], out: Path) -> None:
    """Writes what :func:`merged` returns: a checkpoint, and beside it the config, whose name ends in .py."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_output(out, buffer.getvalue())
    write_output(out.with_suffix('.py'), cfg.dump())
