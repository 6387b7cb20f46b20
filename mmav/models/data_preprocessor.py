"""Turns collated clips into normalised tensors on the model's device, augmented and mixed in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmav.errors import ConfigError, one_line
from mmav.models.device_steps import DeviceLogMel, DeviceRandomErasing, DeviceSpecAugment
from mmav.registry import MODELS

# instead of a mean and a standard deviation: those that the backbone states
BACKBONE = 'backbone'


# arguments of AVDataPreprocessor that are steps of a pipeline, and what runs them
STEPS = dict(random_erasing=DeviceRandomErasing, log_mel=DeviceLogMel, spec_augment=DeviceSpecAugment)
NO_LOG_MEL = (
    'data_preprocessor.spec_augment masks what data_preprocessor.log_mel computes, and there is none: give both, or '
    'leave SpecAugment in the pipeline'
)
NO_WAVEFORMS = (
    "data_preprocessor.log_mel needs waveforms, but the pipeline gives something else: use dict(type='DeviceLogMel') "
    'in the place of LogMel, or leave data_preprocessor.log_mel out'
)
NOT_COMPUTED = (
    'the pipeline gives the waveforms of a DeviceLogMel, but data_preprocessor has no log_mel that computes their '
    'spectrograms: give it the same arguments, or use LogMel in the pipeline'
)


def build_step(name: str, options: Mapping[str, Any] | None) -> Any:
    """One of ``STEPS``; None without options.

    Raises:
        ConfigError: They are none of its arguments, or wrong.
    """
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise ConfigError(f'data_preprocessor.{name}={options!r}: give a dict of its arguments')
    try:
        return STEPS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'data_preprocessor.{name}: {one_line(error)}') from error


def no_norm_stated(modality: str, backbone: str) -> str:
    """What to say of a backbone that is asked for a normalisation and has none of its own."""
    return (
        f'data_preprocessor.norm.{modality}={BACKBONE!r}: {backbone} states no normalisation of its own; give '
        'dict(mean=..., std=...)'
    )


def trim_padding(value: Tensor, columns: int) -> Tensor:
    """Leaves out columns at the end of (B, ..., T) that are zeros in the whole batch, beyond a multiple of ``columns``.

    Front ends pad with exact zeros, before normalisation. At least ``columns`` are left.

    >>> trim_padding(torch.tensor([[1.0, 2, 0, 0, 0, 0], [1, 0, 3, 0, 0, 0]]), 2)
    tensor([[1., 2., 0., 0.],
            [1., 0., 3., 0.]])
    """
    used = value.flatten(0, -2).any(dim=0).nonzero()
    last = int(used[-1]) + 1 if len(used) else 1
    return value[..., : -(-last // columns) * columns]


class HandedOver(dict[str, Any]):
    """A batch after :meth:`AVDataPreprocessor.hand_over`: on the device, and what the CPU decides is decided."""


@MODELS.register_module()
class AVDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, normalises each modality and mixes clips in training.

    Steps that follow one another at the end of a pipeline can run here, for the whole batch on the model's device, in
    the place of the transforms of the same names: see docs/data_speed.md, and ``--on-device`` of tools/train.py.

    Args:
        norm: Modality name -> dict(mean, std), a number or one per channel, in the units of the input: 0 to 255 for
            video, log-mel for audio; or 'backbone' for what the modality's backbone was trained with. A modality
            without an entry is only converted to float.
        batch_augment: Config of the augmentation that mixes the clips of a training batch, such as
            :class:`MixupCutmix`.
        trim: Modality -> number of columns, such as ``dict(audio=50)``: of the columns at the end that are padding in
            every clip of a batch, :func:`trim_padding` leaves out all but what fills a multiple of that number. The
            length of a batch then follows its clips, for backbones that take any length.
        non_blocking: Whether copies to the device may overlap with computation.
        random_erasing: Arguments of :class:`~mmav.models.device_steps.DeviceRandomErasing`, for training.
        log_mel: Arguments of :class:`~mmav.models.device_steps.DeviceLogMel`, which needs the waveforms that
            :class:`mmav.datasets.transforms.DeviceLogMel` packs.
        spec_augment: Arguments of :class:`~mmav.models.device_steps.DeviceSpecAugment`, for training, after
            ``log_mel``.

    Raises:
        ValueError: If a standard deviation is not above 0, or an entry is neither a dict nor 'backbone'.
        ConfigError: An argument of a step is wrong, or there is ``spec_augment`` without ``log_mel``.
    """

    log_mel: DeviceLogMel | None

    def __init__(
        self,
        norm: Mapping[str, Mapping[str, float | Sequence[float]] | str] | None = None,
        batch_augment: dict[str, Any] | None = None,
        *,
        trim: Mapping[str, int] | None = None,
        non_blocking: bool = True,
        random_erasing: Mapping[str, Any] | None = None,
        log_mel: Mapping[str, Any] | None = None,
        spec_augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(non_blocking)
        for name, columns in (trim or {}).items():
            if not isinstance(columns, int) or columns < 1:
                raise ValueError(f'trim.{name}={columns!r} must be a whole number of columns above 0')
        self.trim = dict(trim or {})
        self.modalities: tuple[str, ...] = ()
        self.of_backbone: tuple[str, ...] = ()
        for name, value in (norm or {}).items():
            if value == BACKBONE:
                self.of_backbone += (name,)
            elif isinstance(value, Mapping) and value.keys() == {'mean', 'std'}:
                self._set_norm(name, value)
            else:
                raise ValueError(f'norm.{name}={value!r}: give dict(mean=..., std=...), or {BACKBONE!r} for its own')
        self.batch_augment = MODELS.build(batch_augment) if batch_augment else None
        self.random_erasing = build_step('random_erasing', random_erasing)
        self.log_mel = build_step('log_mel', log_mel)
        self.spec_augment = build_step('spec_augment', spec_augment)
        if self.spec_augment is not None and self.log_mel is None:
            raise ConfigError(NO_LOG_MEL)

    def _set_norm(self, name: str, norm: Mapping[str, Any]) -> None:
        for key in ('mean', 'std'):
            value = torch.as_tensor(norm[key], dtype=torch.float32).reshape(-1)
            if key == 'std' and not (value > 0).all():
                raise ValueError(f'norm.{name}.std={norm[key]} must be above 0')
            self.register_buffer(f'{name}_{key}', value, persistent=False)
        self.modalities += (name,)

    def take_norms(self, backbones: Mapping[str, Any]) -> None:
        """Fills in what the backbones state for themselves; those of other modalities are left out.

        Args:
            backbones: Modality name -> backbone.

        Raises:
            ConfigError: A backbone states no normalisation.
        """
        for name in self.of_backbone:
            if name in backbones:
                norm = getattr(getattr(backbones[name], 'expected', None), 'norm', None)
                if norm is None:
                    raise ConfigError(no_norm_stated(name, type(backbones[name]).__name__))
                self._set_norm(name, norm)
        self.of_backbone = ()

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepares a batch.

        Args:
            data: ``inputs`` (modality -> (B, V, C, ...)), ``masks`` (modality -> (B,) bool), ``data_samples`` and, of
                waveforms for ``log_mel``, ``lengths`` (modality -> samples (B, V)); or what :meth:`hand_over` made of
                it.
            training: Whether clips are augmented and mixed.

        Returns:
            The same keys; ``inputs`` in float32, ``masks`` None if every clip has every modality.
        """
        data = data if isinstance(data, HandedOver) else self.hand_over(data)
        given = dict(data['inputs'])
        if self.log_mel is not None and 'audio' in given:
            given['audio'] = self.log_mel(given['audio'], data['lengths']['audio'], data['columns'])
            if training and self.spec_augment is not None:
                given['audio'] = self.spec_augment(given['audio'], data['frames'])
        inputs = {name: self.normalise(name, value) for name, value in given.items()}
        if training and self.random_erasing is not None and 'video' in inputs:
            video = inputs['video']
            # normalised frames are new memory, and those that are not belong to the caller
            video = video.clone() if video is data['inputs']['video'] else video
            inputs['video'] = self.random_erasing(video, lambda noise: self.normalise('video', noise))
        data_samples, masks = data['data_samples'], data['masks']
        if training and self.batch_augment is not None:
            inputs, masks, data_samples = self.batch_augment(inputs, masks, data_samples)
        return dict(inputs=inputs, masks=masks, data_samples=data_samples)

    def hand_over(self, data: Mapping[str, Any]) -> HandedOver:
        """Decides what needs values on the CPU, as afterwards it would need a synchronisation, and copies the rest.

        Args:
            data: A batch, see :meth:`forward`, on the CPU.

        Returns:
            What :meth:`forward` takes in its place; ``masks`` is None if every clip has every modality.

        Raises:
            ConfigError: The pipeline gives waveforms where spectrograms belong, or the other way round.
        """
        masks, inputs = data.get('masks'), dict(data['inputs'])
        if masks is not None and all(bool(mask.all()) for mask in masks.values()):
            masks = None
        decided: dict[str, Any] = {}
        if self.log_mel is not None and 'audio' in inputs:
            decided = self._decide_frames(self.log_mel, data.get('lengths'))
        elif data.get('lengths'):
            raise ConfigError(NOT_COMPUTED)
        for name, columns in self.trim.items():
            if name in inputs and not (decided and name == 'audio'):
                inputs[name] = trim_padding(inputs[name], columns)
        samples = self.cast_data(data['data_samples'])  # first: these small copies would wait behind the large ones
        moved = self.cast_data(dict(inputs=inputs, masks=masks, lengths=data.get('lengths')))
        return HandedOver(**moved, **decided, data_samples=samples)

    def _decide_frames(self, log_mel: DeviceLogMel, lengths: Mapping[str, Tensor] | None) -> dict[str, Any]:
        """``frames``: how many columns of each clip are filled (B,), on the CPU; ``columns``: how many are computed."""
        if not lengths or 'audio' not in lengths:
            raise ConfigError(NO_WAVEFORMS)
        frames = log_mel.num_frames(lengths['audio']).clamp(max=log_mel.target_frames).amax(dim=1)
        columns = log_mel.target_frames
        if 'audio' in self.trim:
            step = self.trim['audio']
            columns = min(columns, step * max(-(-int(frames.max()) // step), 1))
        return dict(frames=frames, columns=columns)

    def normalise(self, name: str, value: Tensor) -> Tensor:
        """Returns (value - mean) / std of a modality (B, V, C, ...) in float32."""
        given, value = value, value.float()
        if name in self.of_backbone:
            raise ConfigError(f'norm.{name}={BACKBONE!r}: no backbone has said what it expects; see take_norms')
        if name not in self.modalities:
            return value
        shape = (-1,) + (1,) * (value.dim() - 3)
        mean, std = (getattr(self, f'{name}_{key}').view(shape) for key in ('mean', 'std'))
        # in place where nobody else has the values, as new memory costs small models as much as the arithmetic
        moved = value - mean if value is given else value.sub_(mean)
        return moved.div_(std)
