"""The complete forward pass: modalities to tokens, tokens to streams, streams to labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.models.data_preprocessor import AVDataPreprocessor
from mmav.models.init import from_scratch, leave_out_files, report_origins, without_files
from mmav.models.token_mixup import build_token_mixup
from mmav.models.training_loss import build_auxiliary, training_losses
from mmav.models.tuning import KEYS, hold_eval, training_line, tune
from mmav.models.views import check_average, count_views, encode_in_chunks, masks_of_views, repeat_views
from mmav.registry import MODELS
from mmav.structures import PROJECTED, AVDataSample, Tokens


def tokens_of(backbone: nn.Module, x: Tensor, name: str) -> Tokens:
    """What a backbone returns for (B, C, *size), held to the contract.

    Args:
        backbone: The backbone; its ``out_dims`` is D.
        x: The input.
        name: Its modality, for the error.

    Raises:
        ConfigError: It returns something else than :class:`~mmav.structures.Tokens`, or their shapes contradict.
    """
    tokens, kind = backbone(x), type(backbone).__name__
    if not isinstance(tokens, Tokens):
        raise ConfigError(
            f'backbones.{name}: {kind} returns {type(tokens).__name__}, not Tokens(cls, patches, grid): see '
            'mmav.models.Backbone'
        )
    cls, patches, grid = tokens
    width = backbone.out_dims
    fits = cls.dim() == 2 and cls.shape[1] == width and patches.dim() == 3 and patches.shape[2] == width
    if not fits or not isinstance(grid, Sequence) or math.prod(grid) != patches.shape[1]:
        raise ConfigError(
            f'backbones.{name}: {kind} returns cls {tuple(cls.shape)}, patches {tuple(patches.shape)} and grid {grid}, '
            f'not (B, {width}), (B, N, {width}) and what N unrolls: see mmav.models.Backbone'
        )
    return tokens


@MODELS.register_module()
class AVClassifier(BaseModel):
    """Classifier of clips with video, audio, or both.

    Args:
        backbones: Modality name -> config of its backbone; None removes a modality of a parent config. Whatever its
            class, it may have ``freeze`` and ``lora``, see :func:`~mmav.models.tuning.tune`.
        neck: Config of the neck, also with ``freeze`` and ``lora``; the widths of the backbones are filled in as
            ``in_dims``.
        head: Config of the head; the widths of the neck's streams are filled in as ``in_dims``.
        contrast: Config of the head whose losses compare the backbones' class embeddings in training, such as
            :class:`~mmav.models.ContrastiveHead`; the widths of the backbones are filled in as ``in_dims``.
        auxiliary: Name -> config of a part that adds losses in training, such as :class:`~mmav.models.UnimodalHeads`;
            None removes one of a parent config. What is filled in, and what such a part has to offer, says
            :func:`~mmav.models.training_loss.build_auxiliary`.
        token_mixup: Config of what mixes the tokens of a training batch, :class:`~mmav.models.TokenMixup`; not together
            with ``batch_augment`` of the data preprocessor.
        data_preprocessor: Config of the data preprocessor.
        pretrained: Whether parts whose ``init_cfg`` names a checkpoint, such as ``PublicWeights``, start from it; False
            trains everything from scratch.
        keep_features: Whether the mode ``predict`` adds the input of the last layer to the samples: the concatenated
            streams as ``feature``, and each stream and each encoder's class embedding by name as ``features``; with
            ``contrast`` also their projections, such as ``audio_projected``.
        view_average: What is averaged over the views of a clip: 'probabilities', as SlowFast's ensemble of softmax
            scores and mmaction2's ``average_clips='prob'`` do, or 'logits', mmaction2's 'score': each stream's logits
            are averaged over the views before they become probabilities.
        view_batch: How many views of each clip are encoded at a time where no gradient is recorded; None for all. Less
            memory, the same results.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If there is no backbone, ``view_average`` is unknown or ``view_batch`` below 1.
        ConfigError: If a backbone has no ``out_dims``, the head has no ``parts``, or it has logits that 'logits' cannot
            average, as they are no linear map of the streams; or clips would be mixed twice.
    """

    def __init__(
        self,
        backbones: Mapping[str, dict[str, Any] | None],
        neck: dict[str, Any],
        head: dict[str, Any],
        *,
        contrast: dict[str, Any] | None = None,
        auxiliary: Mapping[str, dict[str, Any] | None] | None = None,
        token_mixup: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        pretrained: bool = True,
        keep_features: bool = False,
        view_average: str = 'probabilities',
        view_batch: int | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or dict(type='AVDataPreprocessor')), init_cfg)
        if not pretrained:
            given = (backbones, neck, head, contrast, auxiliary)
            backbones, neck, head, contrast, auxiliary = map(from_scratch, given)
            self.init_cfg = without_files(init_cfg)
        backbones = {name: cfg for name, cfg in backbones.items() if cfg is not None}
        if not backbones:
            raise ValueError('AVClassifier needs at least one backbone, such as dict(audio=dict(type="MAT"))')
        self.tuned: tuple[str, ...] = ()
        # MMEngine's ModuleDict, whose init_weights reaches the backbones; torch's has none, and they would be skipped
        # silently (tests/models/test_av_classifier.py checks it)
        self.backbones = ModuleDict(
            {name: self._built_and_tuned(cfg, f'backbones.{name}') for name, cfg in backbones.items()}
        )
        if not pretrained:
            leave_out_files(self.backbones)
        if isinstance(self.data_preprocessor, AVDataPreprocessor):
            self.data_preprocessor.take_norms(self.backbones)
        widths = {name: _width(name, backbone) for name, backbone in self.backbones.items()}
        self.neck = self._built_and_tuned({'in_dims': widths, **neck}, 'neck')
        self.head = MODELS.build({'in_dims': self.neck.out_dims, **head})
        if not hasattr(self.head, 'parts'):
            raise ConfigError(
                f'head: {type(self.head).__name__} does not say what it learns: give it parts, part of the label -> '
                'head, and dicts by part in predict, targets, loss and write, as mmav.models.ClsHead has them'
            )
        self.contrast = MODELS.build({'in_dims': widths, **contrast}) if contrast else None
        self.auxiliary = build_auxiliary(auxiliary, widths=widths, neck=self.neck, head=self.head, head_cfg=head)
        self.token_mixup = build_token_mixup(token_mixup, self.head, self.data_preprocessor)
        # of training alone, set by hooks: see training_losses
        self.observers: list[Callable[..., dict[str, Tensor]]] = []
        self.loss_factors: dict[str, float] = {}
        self.keep_features = keep_features
        self.view_average = check_average(view_average, self.head)
        if view_batch is not None and (not isinstance(view_batch, int) or view_batch < 1):
            raise ValueError(f'view_batch={view_batch!r} must be a whole number above 0, or None for all views at once')
        self.view_batch = view_batch

    def _built_and_tuned(self, cfg: Any, where: str) -> nn.Module:
        part = MODELS.build({key: value for key, value in cfg.items() if key not in KEYS})
        if any(cfg.get(key) is not None for key in KEYS):
            tune(part, cfg, where)
            self.tuned += (where,)
        return part

    def train(self, mode: bool = True) -> AVClassifier:
        """Sets the mode; what ``freeze`` keeps in eval mode stays there."""
        super().train(mode)
        hold_eval(self)
        return self

    @master_only
    def _dump_init_info(self) -> None:
        """Called by MMEngine after ``init_weights``."""
        report_origins(self)
        for name in self.tuned:
            print_log(training_line(self.get_submodule(name), name.removeprefix('backbones.')), 'current')

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: list[AVDataSample] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[AVDataSample]:
        """Classifies B clips of V views.

        Args:
            inputs: Modality name -> (B, V, C, *size): ``video`` (B, V, 3, T, H, W), ``audio`` (B, V, 1, F, T), or
                (B, V, 1, T) of waveforms. If V is smaller for one modality, each of its views is shared by equally many
                consecutive views of the other, see :func:`~mmav.models.views.count_views`.
            data_samples: The B samples; needed by the modes ``loss`` and ``predict``.
            masks: Modality name -> (B,), True where the clip has that modality; None if every clip has every modality.
            mode: ``tensor``, ``loss`` or ``predict``.

        Returns:
            ``tensor``: part of the label (``label`` if there is only one) -> the head's probabilities (B, C), averaged
            over the views. ``loss``: named losses, with every view as a clip of its own. ``predict``: the samples, with
            the fields that the head writes, such as ``pred_score`` and ``pred_label``.

        Raises:
            ValueError: If the mode is unknown.
            ConfigError: If a modality is missing, the numbers of views do not match, or a backbone does not return the
                tokens that it promises.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f'mode={mode!r} is unknown: choose tensor, loss or predict')
        if mode != 'tensor' and data_samples is None:
            raise ValueError(f'mode={mode!r} needs data_samples')
        if mode == 'loss' and data_samples is not None:
            of_each_view = [sample for sample in data_samples for _ in range(self._views(inputs))]
            # drawn here, as losses() is compiled
            share = self.token_mixup.draw(_device(inputs)) if self.training and self.token_mixup is not None else None
            targets = self.head.targets(of_each_view), self.head.targets(data_samples)
            return self.losses(inputs, *targets, masks=masks, share=share)
        keep = self.keep_features and data_samples is not None and mode != 'tensor'
        scores, streams, features, alone = self._see(inputs, masks, keep=keep)
        if self.view_average == 'logits':
            # of linear layers, as check_average ensures: the logits of a mean are the mean of the logits
            scores = self.head.predict(streams, masks)
        if data_samples is None or mode == 'tensor':
            return scores
        if keep:
            _write_features(data_samples, features, list(streams), masks=masks or {})
        self.head.write(data_samples, scores)
        for part in self._tested():
            part.write(data_samples, alone, masks)
        return data_samples

    def _see(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None, *, keep: bool
    ) -> tuple[dict[str, Tensor], ...]:
        """Means over the views of B clips: probabilities (B, C) by part, streams (B, D), to keep features (B, D), and
        what auxiliary parts predict (B, C).

        Views are encoded ``view_batch`` at a time, but not where gradients are recorded: they keep all of them anyway,
        and Grad-CAM looks into the one pass.
        """
        views = self._views(inputs)
        if self.view_batch is None or self.view_batch >= views or torch.is_grad_enabled():
            chunks = iter([self.encode(inputs)])
        else:
            chunks = encode_in_chunks(self._encode, {name: inputs[name] for name in self.backbones}, self.view_batch)
        found: tuple[dict[str, list[Tensor]], ...] = ({}, {}, {}, {})
        for tokens, number in chunks:
            view_masks = masks_of_views(masks, number)
            streams = self.neck(tokens, view_masks)  # stream -> (B * n, D)
            scores = self.head.predict(streams, view_masks) if self.view_average == 'probabilities' else {}
            features = _features(tokens, streams, self._projections()) if keep else {}
            alone = {k: v for part in self._tested() for k, v in part.predict(tokens, view_masks).items()}
            for kept, values in zip(found, (scores, streams, features, alone), strict=True):
                for name, value in values.items():
                    kept.setdefault(name, []).append(value.unflatten(0, (-1, number)))
        return tuple({name: torch.cat(v, dim=1).mean(dim=1) for name, v in each.items()} for each in found)

    def _tested(self) -> list[Any]:
        """The auxiliary parts that testing has, too."""
        return [part for part in self.auxiliary.values() if getattr(part, 'in_testing', False)]

    def losses(
        self,
        inputs: Mapping[str, Tensor],
        targets: Any,
        clip_targets: Any,
        *,
        masks: Mapping[str, Tensor] | None = None,
        share: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The mode ``loss`` on tensors alone: what a config's ``compile`` compiles (:mod:`mmav.engine.compilation`).

        Args:
            inputs: Modality name -> (B, V, C, *size).
            targets: Returned by the head's ``targets`` for the samples of all B * V views.
            clip_targets: The same for the samples of the B clips.
            masks: Modality name -> (B,), True where the clip has it; None if every clip has every modality.
            share: Of each clip, (), where ``token_mixup`` mixes the batch; None where it does not.

        Returns:
            Named losses.
        """
        return training_losses(self, inputs, targets, clip_targets, masks, share=share)

    def encode(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tokens], int]:
        """Encodes each view of each modality once, then repeats the tokens of modalities with fewer views.

        Returns:
            Modality name -> tokens of B * V clips, and V.
        """
        views = self._views(inputs)
        tokens = {
            name: repeat_views(self._encode(name, inputs[name].flatten(0, 1)), views // inputs[name].shape[1])
            for name in self.backbones
        }
        return tokens, views

    def _encode(self, name: str, x: Tensor) -> Tokens:
        return tokens_of(self.backbones[name], x, name)

    def _projections(self) -> Mapping[str, nn.Module]:
        """Modality -> what projects its class embedding into the space of the contrastive losses; empty without one."""
        return dict(getattr(self.contrast, 'projections', {}))

    def _views(self, inputs: Mapping[str, Tensor]) -> int:
        missing = [name for name in self.backbones if name not in inputs]
        if missing:
            raise ConfigError(
                f'the model reads {list(self.backbones)}, but the input has only {list(inputs)}: '
                "name them in the dataset's modalities"
            )
        known = {name: inputs[name] for name in self.backbones}
        numbers = {x.shape[1] for x in known.values()}
        return numbers.pop() if len(numbers) == 1 else count_views(known)


def _device(inputs: Mapping[str, Tensor]) -> torch.device:
    return next(iter(inputs.values())).device


def _width(name: str, backbone: nn.Module) -> int:
    if not hasattr(backbone, 'out_dims'):
        raise ConfigError(
            f'backbones.{name}: {type(backbone).__name__} has no out_dims, the width of its tokens: make it a '
            'mmav.models.Backbone'
        )
    return int(backbone.out_dims)  # type: ignore[arg-type]


def _features(
    tokens: Mapping[str, Tokens], streams: Mapping[str, Tensor], projections: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Name -> features (B * V, D): class embeddings, their projections, and streams."""
    projected = {f'{name}{PROJECTED}': layer(tokens[name].cls) for name, layer in projections.items()}
    # a stream named after a modality replaces its class embedding, as the last layer reads the stream
    named = {name: encoded.cls for name, encoded in tokens.items()} | projected | dict(streams)
    return {name: value.float() for name, value in named.items()}


def _write_features(
    samples: list[AVDataSample], named: Mapping[str, Tensor], streams: Sequence[str], *, masks: Mapping[str, Tensor]
) -> None:
    """Writes the features (B, D) of B clips; named features only for modalities a clip has."""
    joined = torch.cat([named[name] for name in streams], dim=-1)  # (B, D)
    for i, sample in enumerate(samples):
        absent = {name for name, mask in masks.items() if not mask[i]}
        present = {name: value[i] for name, value in named.items() if name.removesuffix(PROJECTED) not in absent}
        sample.set_feature(joined[i]).set_features(present)
