"""The frozen encoders that features are made by: loaded, run, and saved beside the features."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from mmav.adapting import noted_grids, position_grids
from mmav.checkpoints import load_checkpoint_file
from mmav.config.edits import resolve_num_classes
from mmav.engine.features.plan import preprocessor_of
from mmav.engine.loading import load_weights
from mmav.engine.small_checkpoints import complete
from mmav.errors import CheckpointError, ConfigError, FeatureError
from mmav.models.av_classifier import tokens_of
from mmav.models.init import reads_file
from mmav.models.necks.joining import CLASS_ONLY, pool_tokens
from mmav.outputs import write_output
from mmav.registry import MODELS
from mmav.structures import Tokens

PREFIX = 'backbones.'
ENCODERS = 'encoders.pth'
WHAT = ('auto', 'all', 'cls')


def load_encoders(cfg: Config, checkpoint: str | None) -> nn.Module:
    """Builds the model of a config for its encoders, frozen and in eval mode.

    Args:
        cfg: The config.
        checkpoint: File with the weights of the encoders, of ``mmav train``; None starts them as training does, from
            what ``init_cfg`` names or at random, by the config's seed.

    Raises:
        ConfigError: The model has no encoders.
        CheckpointError: The file is missing or lacks weights of an encoder.
    """
    init_default_scope('mmav')
    content = None if checkpoint is None else load_checkpoint_file(checkpoint)
    resolve_num_classes(cfg)
    set_random_seed((cfg.get('randomness') or {}).get('seed') or 0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': preprocessor_of(cfg)})
    encoders = getattr(model, 'backbones', None)
    if not isinstance(encoders, nn.ModuleDict):
        raise ConfigError(f'model.type={cfg.model.type!r} has no backbones: features are those of an AVClassifier')
    if content is None:
        model.init_weights()
    else:
        complete(content, model, str(checkpoint))
        state = content.get('state_dict', content)
        weights = {name.removeprefix('module.').removeprefix(PREFIX): value for name, value in state.items()
                   if name.removeprefix('module.').startswith(PREFIX)}  # fmt: skip
        for name in encoders:
            if not any(key.startswith(f'{name}.') for key in weights):
                raise CheckpointError(
                    f"'{checkpoint}' has no encoder of {name}, no weights {PREFIX}{name}.*: give a checkpoint of `mmav "
                    'train`; public weights belong into the init_cfg of the encoder'
                )
        weights = {key: value for key, value in weights.items() if key.split('.')[0] in encoders}
        load_weights(encoders, weights, str(checkpoint), strict=True, grids=noted_grids(content, PREFIX))
    return model.eval().requires_grad_(False)


def untrained(model: Any) -> list[str]:
    """The modalities whose encoders start from no weights in ``init_weights``, but at random."""
    return [
        name
        for name, backbone in model.backbones.items()
        # a part inside may be the one that reads it, as in PerFrame
        if not any(reads_file(getattr(part, 'init_cfg', None)) for part in backbone.modules())
    ]


def weight_digest(weights: Mapping[str, Tensor]) -> str:
    """The checksum of weights: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)};'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def encoder_digests(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Modality -> checksum of its encoder among the weights of a model."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(PREFIX):
            modality, _, rest = name.removeprefix(PREFIX).partition('.')
            parts.setdefault(modality, {})[rest] = value
    return {modality: weight_digest(weights) for modality, weights in parts.items()}


def save_encoders(model: nn.Module, folder: str | Path, digests: Mapping[str, str]) -> Path:
    """Writes the weights of the encoders, which ``mmav merge`` joins with what is trained on their features.

    Returns:
        The file.

    Raises:
        FeatureError: The folder holds those of others.
    """
    path = Path(folder) / ENCODERS
    if path.is_file():
        there = load_checkpoint_file(path).get('meta', {}).get('encoders')
        if there == dict(digests):
            return path
        raise FeatureError(f"'{path}' holds other encoders: give another folder with --out")
    state = {name: value for name, value in model.state_dict().items() if name.startswith(PREFIX)}
    grids = {name: grid for name, grid in position_grids(model).items() if name.startswith(PREFIX)}
    buffer = io.BytesIO()
    torch.save(dict(meta=dict(encoders=dict(digests), position_grids=grids), state_dict=state), buffer)
    write_output(path, buffer.getvalue())
    return path


def stored_grids(model: nn.Module, what: str) -> dict[str, tuple[int, ...]]:
    """Which patch tokens are stored: modality -> their grid; all of a modality that is missing.

    Args:
        model: The model.
        what: ``cls``: none. ``all``: all. ``auto``: what the neck reads, by its ``token_grids``.

    Raises:
        ConfigError: Another word.
    """
    if what not in WHAT:
        raise ConfigError(f'tokens={what!r}: choose one of {", ".join(WHAT)}')
    encoders: Any = model.backbones
    if what == 'cls':
        return dict.fromkeys(encoders, CLASS_ONLY)
    return dict(getattr(model.neck, 'token_grids', {})) if what == 'auto' else {}


class Encoded:
    """The tokens of a batch.

    Attributes:
        tokens: Modality -> class embedding and patch tokens (B, V, 1 + N, D) float32, zeros where it is absent.
        grids: Modality -> grid of its N patch tokens.
        encoder_grids: Modality -> grid of its encoder's.
        masks: Modality -> which clips have it (B,).
        samples: The B samples.
    """

    def __init__(self, model: Any, batch: dict[str, Any], grids: Mapping[str, tuple[int, ...]]) -> None:
        self.masks: dict[str, Tensor] = batch['masks']
        data = model.data_preprocessor(batch, training=False)
        self.samples = batch['data_samples']
        self.tokens: dict[str, Tensor] = {}
        self.grids: dict[str, tuple[int, ...]] = {}
        self.encoder_grids: dict[str, tuple[int, ...]] = {}
        for name, backbone in model.backbones.items():
            x = data['inputs'][name]  # (B, V, C, *size)
            found = tokens_of(backbone, x.flatten(0, 1), name)
            self.encoder_grids[name] = tuple(found.grid)
            if name in grids:
                found = pool_tokens(found, grids[name], name)
            self.grids[name] = tuple(found.grid)
            self.tokens[name] = self._joined(found, x.shape[:2], self.masks[name])

    @staticmethod
    def _joined(found: Tokens, shape: torch.Size, present: Tensor) -> Tensor:
        tokens = torch.cat((found.cls[:, None], found.patches), dim=1).float().cpu().unflatten(0, tuple(shape))
        return torch.where(present.cpu()[:, None, None, None], tokens, torch.zeros(()))
