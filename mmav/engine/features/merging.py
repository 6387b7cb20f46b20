"""Joins a neck and head that were trained on features with the encoders of these features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmav.adapting import noted_grids
from mmav.checkpoints import require_every_weight
from mmav.engine.features.encoders import ENCODERS, PREFIX, encoder_digests
from mmav.engine.label_kinds import MULTI_LABEL
from mmav.errors import CheckpointError


def encoders_behind(checkpoint: Mapping[str, Any]) -> dict[str, str] | None:
    """Modality -> checksum of the encoder of whose features a checkpoint was trained; None if it has encoders itself.

    Features made elsewhere have no checksums: the dict is empty.
    """
    state = checkpoint.get('state_dict', checkpoint)
    meta = checkpoint.get('meta')
    noted = (meta.get('dataset_meta') or {}).get('encoders') if isinstance(meta, Mapping) else None
    if any(str(name).removeprefix('module.').startswith(PREFIX) for name in state) or not isinstance(noted, Mapping):
        return None
    return {str(name): str(digest) for name, digest in noted.items()}


def join_encoders(
    trained: Mapping[str, Any], path: str, encoders: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Joins what was trained on features with the encoders.

    Args:
        trained: Checkpoint of training on features.
        path: Its file, for messages.
        encoders: Files and their checkpoints, which hold encoders: ``encoders.pth`` of the features, or what made them.

    Returns:
        The weights of the whole model, and the ``meta`` of its checkpoint.

    Raises:
        CheckpointError: An encoder is missing, given twice, or another one than the features are of.
    """
    wanted = encoders_behind(trained) or {}
    state = dict(trained.get('state_dict', trained))
    grids: dict[str, Any] = {}
    source: dict[str, str] = {}
    for file, checkpoint in encoders:
        require_every_weight(checkpoint, file)
        held = checkpoint.get('state_dict', checkpoint)
        weights = {name.removeprefix('module.'): value for name, value in held.items()}
        digests = encoder_digests(weights)
        if not digests:
            raise CheckpointError(f"'{file}' holds no encoders: give the {ENCODERS} of the features")
        for modality in [name for name in wanted if name in digests]:
            if modality in source:
                raise CheckpointError(f"'{source[modality]}' and '{file}' both hold an encoder of {modality}: give one")
            if digests[modality] != wanted[modality]:
                raise CheckpointError(
                    f"'{path}' was trained on features of another {modality} encoder than that of '{file}': give the "
                    f'{ENCODERS} of its features'
                )
            source[modality] = file
            prefix = f'{PREFIX}{modality}.'
            state.update({name: value for name, value in weights.items() if name.startswith(prefix)})
            grids.update({name: grid for name, grid in noted_grids(checkpoint).items() if name.startswith(prefix)})
    missing = [modality for modality in wanted if modality not in source]
    if missing:
        raise CheckpointError(
            f"'{path}' was trained on features of {' and '.join(missing)}, and no encoder of them is given: add the "
            f'{ENCODERS} of the features'
        )
    known = {key: value for key, value in trained['meta']['dataset_meta'].items() if key != 'encoders'}
    several = {MULTI_LABEL: trained['meta'][MULTI_LABEL]} if MULTI_LABEL in trained['meta'] else {}
    return state, dict(dataset_meta=known, **several, position_grids=grids)
