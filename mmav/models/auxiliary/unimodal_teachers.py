"""Teachers of one modality each: the encoders of a joint model learn to give the features that training alone gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from mmav.checkpoints import describe_mismatch, load_checkpoint_file, require_checkpoint, require_every_weight
from mmav.errors import CheckpointError, ConfigError, did_you_mean, one_line
from mmav.models.auxiliary.batch import TrainingBatch, weight_by_modality
from mmav.models.init import from_scratch, leave_out_files
from mmav.models.tuning import KEYS
from mmav.registry import MODELS
from mmav.shipped import find_config
from mmav.structures import Tokens

FEATURES = ('class', 'all')
_OF_TEACHER = ('config', 'checkpoint')


@MODELS.register_module()
class UnimodalTeachers(BaseModule):
    """Pulls the features of each encoder to those of an encoder that was trained on its modality alone.

    Uni-modal teachers (Du et al. 2021, "Improving Multi-Modal Learning with Uni-Modal Teachers"; Du et al. 2023, "On
    Uni-Modal Feature Learning in Supervised Multi-Modal Learning"): L + sum_m w_m |f_m(x_m) - t_m(x_m)|^2 / D, with f_m
    the features of the modality before fusion and t_m those of its teacher, which is frozen, in eval mode and without
    gradient. The mean is over the D features and the clips that have the modality, as torch's ``MSELoss`` takes it
    (GeWu-Lab/BalanceBenchmark, balancemm/trainer/UMT_trainer.py).

    Teachers see the same clips, augmented in the same way; where ``token_mixup`` mixes them, they are compared before.
    They are read when training starts, are no part of the model or its checkpoints, and cost nothing at test time. Each
    process keeps its own, whole, also with ``fsdp``.

    Args:
        in_dims: Modality name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        loss_weight: w_m, one number for all teachers or modality name -> number.
        features: 'class' for the class embedding, or 'all' for the mean over it and the patch tokens.
        init_cfg: MMEngine's initialisation config.
        teachers: Modality name -> dict(config=..., checkpoint=...): the config of the model that was trained before,
            and its checkpoint. A modality without a teacher learns as it does. That the model has other modalities,
            too, is no harm where each encoder had a loss of its own (neck ``Avg``).

    Raises:
        ValueError: ``in_dims`` is missing, or ``features`` unknown.
        ConfigError: There is no teacher, or one for a modality that the model does not have, or without a config or
            checkpoint; or a weight is not above 0.

    >>> teacher = dict(config='mat.py', checkpoint='mat.pth')
    >>> UnimodalTeachers(dict(video=8, audio=6), loss_weight=2, audio=teacher).loss_weight
    {'audio': 2.0}
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None = None,
        loss_weight: float | Mapping[str, float] = 1.0,
        *,
        features: str = 'class',
        init_cfg: dict | list[dict] | None = None,
        **teachers: Mapping[str, str] | None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'UnimodalTeachers needs the widths of the encoders, got in_dims={in_dims}')
        if features not in FEATURES:
            raise ValueError(
                f'features={features!r} is unknown: choose {" or ".join(FEATURES)}{did_you_mean(features, FEATURES)}'
            )
        given = {name: cfg for name, cfg in teachers.items() if cfg is not None}
        for name, cfg in given.items():
            if name not in in_dims:
                raise ConfigError(
                    f'UnimodalTeachers: the model has no {name!r} to teach, only {" and ".join(in_dims)}'
                    f'{did_you_mean(name, in_dims)}'
                )
            if not isinstance(cfg, Mapping) or cfg.keys() != set(_OF_TEACHER) or not all(cfg.values()):
                raise ConfigError(f'UnimodalTeachers: {name}={cfg!r}; give dict(config=..., checkpoint=...), two files')
        if not given:
            raise ConfigError('UnimodalTeachers has no teacher: give one, as video=dict(config=..., checkpoint=...)')
        self.teachers = given
        self.in_dims = dict(in_dims)
        self.features = features
        self.loss_weight = _weights(loss_weight, list(given))
        self._held = _Held()

    def init_weights(self) -> None:
        """Reads the teachers: MMEngine calls it when training starts.

        Raises:
            MmavError: A config or checkpoint is missing, or of another modality or architecture.
        """
        super().init_weights()
        self.read()

    def read(self, *, weights: bool = True) -> None:
        """Reads the teachers anew, without advancing the random generator."""
        with torch.random.fork_rng(devices=()):
            for name, cfg in self.teachers.items():
                teacher = read_teacher(name, cfg['config'], cfg['checkpoint'] if weights else None)
                if teacher.out_dims != self.in_dims[name]:
                    raise ConfigError(
                        f"UnimodalTeachers: the teacher of {name}, '{cfg['config']}', gives {teacher.out_dims} "
                        f'features, the encoder to be taught {self.in_dims[name]}: take one of the same width'
                    )
                self._held.encoders[name] = teacher.requires_grad_(False).eval()

    def loss(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Computes the losses.

        Args:
            batch: The clips.

        Returns:
            ``loss_teacher_video`` and so on: w_m times the mean squared difference.

        Raises:
            ConfigError: With ``features='all'``, encoder and teacher have different numbers of tokens.
        """
        if not self._held.encoders:  # in a process that trains without MMEngine, or resumes
            real = not isinstance(next(iter(batch.inputs.values())), FakeTensor)
            torch.compiler.disable(self.read)(weights=real)  # here: as a decorator it would import the compiler
        found = {}
        tokens, masks = batch.whole
        for name, teacher in self._held.encoders.items():
            x = batch.inputs[name]
            _follow(teacher, x)
            with torch.no_grad():
                wanted = self._features(teacher(x.flatten(0, 1)))
            # the model repeats views of modalities with fewer: here each counts once
            times = batch.views // x.shape[1]
            own, mask = self._features(tokens[name])[::times], (masks or {}).get(name)
            if own.shape != wanted.shape:
                raise ConfigError(
                    f"UnimodalTeachers(features='all'): {name} has {own.shape[1] - 1} patch tokens, its teacher "
                    f"{wanted.shape[1] - 1}: take a teacher of the same grid, or features='class'"
                )
            squares = (_precise(own) - _precise(wanted)).square().flatten(1).mean(dim=1)
            if mask is None:
                mean = squares.mean()
            else:
                # not a product: what is absent may be anything
                mean = torch.where(mask[::times], squares, 0.0).sum() / mask[::times].sum().clamp(min=1)
            found[f'loss_teacher_{name}'] = self.loss_weight[name] * mean
        return found

    def _features(self, tokens: Tokens) -> Tensor:
        """The class embedding (B, 1, D), or all tokens (B, 1 + N, D)."""
        cls = tokens.cls[:, None]
        return cls if self.features == 'class' else torch.cat((cls, tokens.patches), dim=1)


class _Held:
    """Keeps the teachers out of the model's parameters, state and copies."""

    def __init__(self) -> None:
        self.encoders: dict[str, nn.Module] = {}

    def __deepcopy__(self, memo: Any) -> _Held:
        return self  # nothing in it changes


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _follow(teacher: nn.Module, x: Tensor) -> None:
    """Moves a teacher, which the model's own moves do not reach, to where its input is."""
    first = next(teacher.parameters(), None)
    if first is not None and (first.device, first.dtype) != (x.device, x.dtype):
        teacher.to(device=x.device, dtype=x.dtype)


def read_teacher(modality: str, config: str, checkpoint: str | None) -> nn.Module:
    """Builds the encoder of one modality from a config, with the weights of a checkpoint.

    Args:
        modality: Name of the modality.
        config: File of the config.
        checkpoint: File of the checkpoint; None for an encoder without weights.

    Raises:
        ConfigError: The config cannot be read, or has no encoder of that modality, or one with LoRA.
        CheckpointError: The file is missing, damaged, has no such encoder, or one of another architecture.
    """
    if checkpoint is not None:
        require_checkpoint(checkpoint)
    backbones = (_read(config).get('model') or {}).get('backbones') or {}
    part = backbones.get(modality)
    known = [name for name, cfg in backbones.items() if cfg is not None]
    if part is None:
        others = ' and '.join(known) or 'none'
        raise ConfigError(f"'{config}' has no encoder of {modality} to teach with, only {others}")
    if part.get('lora'):
        raise ConfigError(
            f"'{config}' has LoRA in its encoder of {modality}: make the checkpoint an ordinary one with `mmav "
            'merge-lora`, and give a config without'
        )
    encoder = MODELS.build(from_scratch({key: value for key, value in part.items() if key not in KEYS}))
    leave_out_files(encoder)
    if checkpoint is None:
        return encoder
    content = load_checkpoint_file(checkpoint)
    require_every_weight(content, checkpoint)
    state = {name.removeprefix('module.'): value for name, value in content.get('state_dict', content).items()}
    prefix = f'backbones.{modality}.'
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    found = sorted({name.split('.')[1] for name in state if name.startswith('backbones.')})
    if not weights:
        raise CheckpointError(
            f"'{checkpoint}' has no encoder of {modality} to teach with, only {' and '.join(found) or 'none'}"
        )
    if set(found) - set(known):
        raise CheckpointError(
            f"'{checkpoint}' has encoders of {' and '.join(found)}, '{config}' only of {' and '.join(known)}: give the "
            'config that it was trained with'
        )
    own = encoder.state_dict()
    report = describe_mismatch(
        [name for name in own if name not in weights],
        [name for name in weights if name not in own],
        [
            f'{name} {tuple(weights[name].shape)} for {tuple(value.shape)}'
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    )
    if report:
        raise CheckpointError(
            f"'{checkpoint}' does not fit the encoder of {modality} in '{config}': {report}; give the config that it "
            'was trained with (its work dir holds a copy)'
        )
    encoder.load_state_dict(weights)
    return encoder


def _weights(given: float | Mapping[str, float], modalities: list[str]) -> dict[str, float]:
    weights = weight_by_modality(given, modalities, 'teachers are of')
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float('inf'):
            raise ConfigError(f'loss_weight={value!r} of {name}: give a number above 0, or leave its teacher out')
    return {name: float(value) for name, value in weights.items()}


def _read(path: str) -> Config:
    """Reads the config of a teacher, which :mod:`mmav.engine.teacher_check` has checked before a training."""
    try:
        return Config.fromfile(str(find_config(path)))
    except ConfigError:
        raise
    except Exception as error:  # a config is code: it can raise anything
        raise ConfigError(f"cannot read the config '{path}': {one_line(error)}") from error
