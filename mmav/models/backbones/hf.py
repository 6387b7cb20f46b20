"""HFBackbone: encoders of transformers as backbones."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import unset_fake_temporarily

from mmav.errors import ConfigError, did_you_mean, one_line
from mmav.hf_files import build_extractor, image_entries, norm_of, plain, quiet, read_config, transformers
from mmav.models.backbones.base import Backbone, Expected, require_size
from mmav.models.backbones.hf_layout import QUIET, blocks_of, default_size, kind_of, prune, read_layout
from mmav.models.init import init_transformer, reads_file
from mmav.models.layers.temporal_pool import TemporalPool, join_frames
from mmav.models.lora import is_lora
from mmav.registry import MODELS
from mmav.structures import Tokens

_WHO = 'HFBackbone'
_AS_IT_IS = dict(mean=[0.0], std=[1.0])
_SIZES = '(T, H, W) of clips, (F, T) of log-mels or (T,) of waveforms'
# in the last part of the names of tokens and tables of positions that are parameters by themselves
_TOKENS = ('token', 'embed', 'pos', 'probe', 'table')


@MODELS.register_module()
class HFBackbone(Backbone):
    """An encoder of transformers: of clips, of images on each frame, of waveforms or of log-mels.

    Takes any model of transformers that gives tokens, such as VideoMAE, V-JEPA 2, ViViT, TimeSformer, CLIP, SigLIP,
    DINOv2, ViT, Hiera, AST, Wav2Vec 2.0, HuBERT, WavLM, Whisper, CLAP, PE-A and PE-V; of a model with text or a decoder
    only the encoder. What it expects, normalisation and front end, is what its processor says: see
    ``norm=dict(video='backbone')`` of :class:`~mmav.models.AVDataPreprocessor`, and docs/encoders.md.

    Its parameters are ``model.*``, with the names that transformers gives them. Parameters that no token depends on,
    such as a mask token, get no gradient. SpecAugment and dropping of layers inside audio models are off, unless
    ``config`` turns them on.

    Args:
        model: A folder (config.json, weights, preprocessor_config.json), a name of the hub, or a dict of
            ``model_type`` and arguments of its config, for random weights.
        input_size: (T, H, W) of a clip, (F, T) of log-mels, (T,) of a waveform; what the config is made for if None.
            Images may be of any number of frames, waveforms of any length.
        pretrained: Whether ``init_weights`` loads the weights of the folder or name; None for yes where there is one.
        embedding: What ``Tokens.cls`` is: the class ``token`` (with a distillation token, the mean of both), the
            ``mean`` of the patches, or what the model's ``pooler`` gives. ``auto`` takes a pooler that is trained
            with the model, or else the class token, or else the mean; see docs/encoders.md.
        pool: For image models, how the embeddings of the frames are combined, ``mean`` or ``attention``; see
            :class:`~mmav.models.layers.temporal_pool.TemporalPool`.
        part: Name of the encoder within a model of several; needed only where it is not clear, as for PE-AV.
        config: Entries of the model's config to change, such as ``dict(hidden_dropout_prob=0.1)``.
        processor: Entries of its processor to change, such as ``dict(image_mean=..., image_std=...)``, or those of a
            model that has none.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ConfigError: transformers is not installed; there is no such model, or it is none of these; the input has
            another size than it takes; an argument has no effect.

    >>> model = dict(model_type='vit', hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> tokens = HFBackbone(dict(model, image_size=32), pool='attention')(torch.zeros(2, 3, 4, 32, 32))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 8]), torch.Size([2, 16, 8]), (4, 2, 2))
    """

    def __init__(
        self,
        model: str | Mapping[str, Any],
        input_size: Sequence[int] | None = None,
        *,
        pretrained: bool | None = None,
        embedding: str = 'auto',
        pool: str = 'mean',
        part: str | None = None,
        config: Mapping[str, Any] | None = None,
        processor: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        given = isinstance(model, str)
        if input_size is not None:
            require_size(input_size, _SIZES)
        if pretrained and not given:
            raise ConfigError(f'pretrained=True: {_WHO} has only a dict, which has no weights; give model a folder')
        # without a planner's fake tensors, which would be asked for values
        with unset_fake_temporarily(), torch.random.fork_rng(devices=()):
            whole, name, shell = _shell(model, part, config)
        kind = kind_of(shell)
        size = input_size or default_size(shell.config, kind)
        who = f'{type(shell).__name__} (model={model!r})' if given else type(shell).__name__
        if size is None:
            raise ConfigError(f'{who} does not say what size of images it takes: give input_size=(T, H, W)')
        if pool != 'mean' and kind != 'image':
            raise ConfigError(f'pool={pool!r} has no effect: {who} reads {kind}s, only embeddings of images are pooled')
        with unset_fake_temporarily(), torch.random.fork_rng(devices=()):
            layout = read_layout(shell, size, embedding, who=who)
        if given and pretrained is not False:
            weights = dict(type='mmav.HFWeights', checkpoint=model)
            init_cfg = (
                weights if init_cfg is None else [*([init_cfg] if isinstance(init_cfg, dict) else init_cfg), weights]
            )
        super().__init__(size, 1 if kind in ('waveform', 'spectrogram') else 3, layout.width, init_cfg=init_cfg)
        self.layout, self.who, self.part, self.whole_config = layout, who, name, whole
        self.expected = _expected(model, shell, size, changes=processor)
        with torch.random.fork_rng(devices=()):
            self.model = _with_values(shell)
            self.pool = TemporalPool(pool, layout.width) if kind == 'image' else None
        prune(self.model, layout.embedding)
        for key, parameter in self.model.named_parameters():
            if key in layout.idle:
                parameter.requires_grad_(False)
        self.blocks = blocks_of(self.model)
        # past nn.Module, which would save its weights under a second name
        self.__dict__['patch_embed'] = getattr(self.model, 'embeddings', None)

    @classmethod
    def expected_of(cls, arguments: Mapping[str, Any]) -> Expected:
        """What the model's processor says, if it has one.

        Args:
            arguments: Those of the constructor.
        """
        model = arguments.get('model')
        if arguments.get('input_size') is not None:
            require_size(arguments['input_size'], _SIZES)
        _, _, shell = _shell(model, arguments.get('part'), arguments.get('config'))
        size = arguments.get('input_size') or default_size(shell.config, kind_of(shell)) or (None,) * 3
        return _expected(model, shell, size, changes=arguments.get('processor'))

    def no_weight_decay(self) -> set[str]:
        """Tokens, and tables of positions, by their names."""
        tables = {id(table.weight) for table in self.model.modules() if isinstance(table, nn.Embedding)}
        return {
            f'model.{name}'
            for name, parameter in self.model.named_parameters()
            if id(parameter) in tables or any(word in name.split('.')[-1] for word in _TOKENS)
        }

    def init_weights(self) -> None:
        """Draws all parameters again as transformers does, or loads them, and applies the rest of ``init_cfg``."""
        if not self._is_init and not reads_file(self.init_cfg):
            with quiet(transformers(_WHO)):
                fresh = type(self.model)(self.model.config).state_dict()
            # matrices of LoRA, which are drawn where they are made, are none of its
            self.model.load_state_dict(
                {name: fresh[name] for name in self.model.state_dict() if not is_lora(name)}, False
            )
        if not self._is_init and self.pool is not None:
            init_transformer(self.pool)
        self.model.is_init = True  # or else MMEngine has transformers draw once more, after the weights are loaded
        super().init_weights()

    def save_pretrained(self, folder: str) -> None:
        """Writes the encoder as transformers does: config.json and model.safetensors.

        Args:
            folder: Is made if there is none.
        """
        self.model.save_pretrained(folder)

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size).

        Raises:
            ConfigError: The size is another one than at construction, where it is fixed.
        """
        self._check(x)
        tokens = self.layout.encode(self.model, x)
        return tokens if self.pool is None else join_frames(tokens, x.shape[2], self.pool)

    def _check(self, x: Tensor) -> None:
        free = dict(image=(0,), waveform=(0,)).get(self.layout.kind, ())
        found, wanted = tuple(x.shape[1:]), (self.in_channels, *self.input_size)
        if len(found) != len(wanted) or any(
            have != want for k, (have, want) in enumerate(zip(found, wanted, strict=True)) if k - 1 not in free
        ):
            shown = ', '.join('any' if k - 1 in free else str(n) for k, n in enumerate(wanted))
            raise ConfigError(
                f'{self.who} takes inputs of shape ({shown}), got {found}: set its input_size, or the data'
            )


def _with_values(shell: Any) -> Any:
    """An encoder as on the meta device, with initial values as transformers draws them."""
    if detect_fake_mode() is not None:  # a planner's tensors have no values
        for module in shell.modules():
            for name, value in vars(module).items():  # tables that are no buffers
                if isinstance(value, Tensor):
                    setattr(module, name, torch.empty(value.shape, dtype=value.dtype))
        return shell._apply(lambda value: torch.empty(value.shape, dtype=value.dtype))
    with quiet(transformers(_WHO)):
        return type(shell)(shell.config)


def _expected(model: Any, shell: Any, size: Sequence[int | None], *, changes: Mapping[str, Any] | None) -> Expected:
    """What the processor of a model says; ``size`` is that of its input."""
    kind = kind_of(shell)
    if kind in ('image', 'video'):
        norm = norm_of(image_entries(model, changes, video=kind == 'video', who=_WHO))
        if norm is None and isinstance(model, str):
            raise ConfigError(
                f"'{model}': its processor does not say how images are normalised; give "
                'processor=dict(image_mean=..., image_std=...)'
            )
        return Expected(norm, size=(None, *size[1:]) if kind == 'image' else tuple(size))
    extractor = build_extractor(model, changes, who=_WHO)
    if kind == 'waveform':
        front_end = _waveform(extractor)
        return Expected(_AS_IT_IS if front_end else None, front_end, (None,))
    if extractor is None:
        return Expected(size=tuple(size))
    if type(extractor).__name__ == 'ASTFeatureExtractor':
        # which is what LogMel computes, without the normalisation
        norm = dict(mean=[extractor.mean], std=[2 * extractor.std]) if extractor.do_normalize else _AS_IT_IS
        mel = dict(type='LogMel', num_mel_bins=extractor.num_mel_bins, target_frames=size[1])
        return Expected(norm, {**mel, 'sample_rate': extractor.sampling_rate}, tuple(size))
    front_end = dict(type='HFSpectrogram', extractor=plain(model if isinstance(model, str) else changes))
    if changes and isinstance(model, str):
        front_end['changes'] = plain(changes)
    return Expected(_AS_IT_IS, front_end, tuple(size))


def _waveform(extractor: Any) -> dict[str, Any] | None:
    if extractor is None:
        return None
    normalize = bool(getattr(extractor, 'do_normalize', False))
    return dict(type='Waveform', sample_rate=extractor.sampling_rate, normalize=normalize)


def _shell(model: Any, part: str | None, changes: Mapping[str, Any] | None) -> tuple[Any, str, Any]:
    """The config of a model, the name of its encoder within it, and the encoder without values."""
    package = transformers(_WHO)
    config = read_config(model, changes, who=_WHO)
    for each in (config, *(value for value in vars(config).values() if hasattr(value, 'to_dict'))):
        for key, value in QUIET.items():
            if hasattr(each, key) and key not in str(changes):
                setattr(each, key, value)
    _import_first(package, config)
    try:
        with torch.device('meta'), quiet(package):
            whole = package.AutoModel.from_config(config)
    except Exception as error:  # a config's sizes can contradict each other in any way
        raise ConfigError(f'model={model!r} cannot be built: {one_line(error)[:300]}') from error
    name = _find_part(whole, package.PreTrainedModel) if part is None else part
    names = {key for key, module in whole.named_modules() if isinstance(module, package.PreTrainedModel)}
    if name not in names:
        known = sorted(names - {''})
        raise ConfigError(
            f'part={part!r}: {type(whole).__name__} has {", ".join(known) or "no parts"}'
            f'{did_you_mean(str(part), known)}'
        )
    return config, name, whole.get_submodule(name)


def _import_first(package: Any, config: Any) -> None:
    """Imports what building a model would import, as some modules make tensors that must not be on the meta device."""
    with suppress(ImportError, OSError):
        importlib.import_module('torchaudio.compliance.kaldi')
    for each in (config, *(value for value in vars(config).values() if hasattr(value, 'to_dict'))):
        with suppress(KeyError):
            package.MODEL_MAPPING[type(each)]


def _find_part(whole: Any, base: Any) -> str:
    """The name of the one encoder of clips, frames or audio in a model; empty for the model itself."""
    if whole.main_input_name != 'input_ids' and not whole.config.is_encoder_decoder:
        return ''
    if isinstance(getattr(whole, 'encoder', None), base):
        return 'encoder'
    found: list[str] = []
    for name, module in whole.named_modules():
        inner = any(name.startswith(f'{outer}.') for outer in found)
        if name and not inner and isinstance(module, base) and module.main_input_name != 'input_ids':
            found.append(name)
    if len(found) > 1:
        raise ConfigError(
            f'model: {type(whole).__name__} has several encoders; name one: part={" or ".join(map(repr, found))}'
        )
    return found[0] if found else ''
