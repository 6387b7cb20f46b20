"""TimmBackbone: networks of timm on each frame of a clip, or on a spectrogram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from mmav.errors import ConfigError, did_you_mean, one_line, require_dict
from mmav.models.backbones.base import Backbone, Expected, require_size
from mmav.models.backbones.timm_features import blocks_of, read_features
from mmav.models.layers.temporal_pool import TemporalPool, join_frames, split_frames
from mmav.registry import MODELS
from mmav.structures import Tokens

_SIZES = '(T, H, W) of a clip or (F, T) of a spectrogram'
# arguments that the backbone sets itself
_OWN = ('num_classes', 'in_chans', 'features_only', 'pretrained', 'pretrained_cfg', 'checkpoint_path')


@MODELS.register_module()
class TimmBackbone(Backbone):
    """Any network of timm (huggingface/pytorch-image-models) that turns images into features.

    The frames of a clip (B, 3, T, H, W) are encoded one by one: the patches of all frames are kept, with grid
    (T, h, w), and the embeddings of the frames are combined by ``pool``. A spectrogram (B, 1, F, T) is one image, to
    which timm adapts the kernels of its first layer. ``Tokens.cls`` is what the network gives its classifier if that is
    as wide as the patches, and otherwise their mean.

    Its parameters are ``model.*``, with timm's names. Those that no token depends on, such as a layer between the
    patches and timm's classifier, are not trained.

    Args:
        model_name: A name of timm, such as ``resnet18`` or ``vit_small_patch16_224.augreg_in21k``; all are in
            ``timm.list_models()``. What follows the dot chooses among the weights that timm publishes.
            ``local-dir:DIR`` is a folder with config.json and weights, ``hf-hub:OWNER/NAME`` a repository of the hub.
        input_size: (T, H, W) of a clip or (F, T) of a spectrogram. At run time clips may have any number of frames, and
            convolutional networks take other sizes.
        in_channels: Channels of the input; 3 for clips and 1 for spectrograms if None.
        pretrained: Whether ``init_weights`` loads the weights that timm publishes under the name.
        checkpoint: A file or folder of weights to load instead; ``pretrained`` is then not needed.
        pool: ``mean`` or ``attention``; see :class:`~mmav.models.layers.temporal_pool.TemporalPool`.
        model_args: Further arguments of the network, such as ``dict(drop_path_rate=0.1)``, or
            ``dict(dynamic_img_size=True)`` for a plain transformer that takes other sizes at run time.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ConfigError: timm is not installed, there is no such network, it takes no images of this size, or an argument
            has no effect.

    >>> backbone = TimmBackbone('test_resnet', input_size=(4, 64, 64))
    >>> tokens = backbone(torch.zeros(2, 3, 4, 64, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 96]), torch.Size([2, 16, 96]), (4, 2, 2))
    """

    def __init__(
        self,
        model_name: str,
        input_size: Sequence[int],
        in_channels: int | None = None,
        *,
        pretrained: bool = False,
        checkpoint: str | None = None,
        pool: str = 'mean',
        model_args: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        rank = len(require_size(input_size, _SIZES))
        if rank not in (2, 3):
            raise ConfigError(f'input_size={tuple(input_size)}: give {_SIZES}')
        if rank == 2 and pool != 'mean':
            raise ConfigError(f'pool={pool!r} has no effect on a spectrogram, which is one image: leave it out')
        channels = _channels(rank, in_channels)
        arguments = network_arguments(model_name, input_size, channels, model_args)
        with unset_fake_temporarily(), torch.device('meta'):
            shell = create(model_name, arguments)
            features = read_features(shell, channels, _image_size(input_size), who=f'{model_name!r} of timm')
        if pretrained or checkpoint:
            weights = dict(type='mmav.TimmWeights', checkpoint=checkpoint)
            init_cfg = [*([init_cfg] if isinstance(init_cfg, dict) else init_cfg or ()), weights]
        super().__init__(input_size, channels, features.width, init_cfg=init_cfg)
        self.model_name, self.model_args, self.features = model_name, arguments, features
        self.model = _built(model_name, arguments)
        # timm has drawn its initial values; MMEngine would have it draw again, after the weights are loaded
        self.model.is_init = True
        for name, parameter in self.model.named_parameters():
            if name in features.idle:
                parameter.requires_grad_(False)
        self.pool = TemporalPool(pool, features.width) if rank == 3 else None
        self.blocks = blocks_of(self.model)
        # past nn.Module, which would save its weights under a second name
        self.__dict__['patch_embed'] = getattr(self.model, 'patch_embed', None)
        given = dict(model_name=model_name, input_size=input_size, in_channels=channels, model_args=model_args)
        self.expected = self.expected_of(dict(given, pretrained=pretrained, checkpoint=checkpoint))

    @classmethod
    def expected_of(cls, arguments: Mapping[str, Any]) -> Expected:
        """The mean and standard deviation that timm states for a network of colour images, and its size if fixed.

        Args:
            arguments: Those of the constructor.
        """
        size = require_size(arguments.get('input_size') or (), _SIZES)
        require_dict('model_args', arguments.get('model_args'))
        published = published_of(arguments.get('model_name'))
        fixed = _is_fixed(published, arguments.get('model_args'))
        if len(size) != 3:
            return Expected(size=size if fixed and len(size) == 2 else None)
        norm = None
        if _channels(3, arguments.get('in_channels')) == 3:
            norm = {key: [255 * float(value) for value in published[key]] for key in ('mean', 'std')}
        trained = bool(arguments.get('pretrained') or arguments.get('checkpoint'))
        return Expected(norm, size=(None, *size[1:]) if fixed else None, trained=trained)

    def no_weight_decay(self) -> set[str]:
        """Those that timm's network names."""
        names: Iterable[str] = getattr(self.model, 'no_weight_decay', set)()
        own = {name for name, _ in self.model.named_parameters()}
        return {f'model.{name}' for name in names if name in own}

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size).

        Raises:
            ConfigError: The input has another rank, other channels or another size than the network takes.
        """
        fixed = self.expected.size is not None
        sizes = [tuple(x.shape[-2:]), _image_size(self.input_size)]
        if x.dim() != len(self.input_size) + 2 or x.shape[1] != self.in_channels or (fixed and sizes[0] != sizes[1]):
            raise ConfigError(
                f'TimmBackbone ({self.model_name}) takes inputs of shape (B, {self.in_channels}, '
                f'{", ".join(map(str, self.input_size))}), got {tuple(x.shape)}: set its input_size, or the data'
            )
        if self.pool is None:
            return self.features.tokens(self.model, x)
        return join_frames(self.features.tokens(self.model, split_frames(x)), x.shape[2], self.pool)


def require_timm() -> Any:
    """The package.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f'TimmBackbone needs timm, which cannot be imported ({error}): pip install timm') from error
    return timm


def published_of(model_name: Any) -> dict[str, Any]:
    """What timm publishes of a network: mean, std, input_size, and where its weights are.

    Raises:
        ConfigError: There is no network of that name.
    """
    timm = require_timm()
    if not isinstance(model_name, str) or not model_name:
        raise ConfigError(f'model_name={model_name!r}: give a name of timm, such as resnet18')
    if ':' in model_name:
        with unset_fake_temporarily(), torch.device('meta'):
            return dict(create(model_name, {}).pretrained_cfg)
    name, _, tag = model_name.partition('.')
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models()) or '; timm.list_models() has all names'
        raise ConfigError(f'model_name={model_name!r}: timm {timm.__version__} has no such network{hint}')
    try:
        found = timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        tags = [each.partition('.')[2] for each in timm.list_pretrained(f'{name}.*')]
        hint = f': choose {", ".join(tags)}' if tags else ', it has none'
        raise ConfigError(f'model_name={model_name!r}: timm publishes no weights {tag!r} of {name}{hint}') from error
    return found.to_dict() if found is not None else {}


def create(model_name: str, arguments: Mapping[str, Any], **kwargs: Any) -> Any:
    """A network of timm without a classifier.

    Args:
        model_name: Its name.
        arguments: From :func:`network_arguments`.
        kwargs: Of ``timm.create_model``.

    Raises:
        ConfigError: It does not take the arguments.
    """
    timm = require_timm()
    try:
        return timm.create_model(model_name, num_classes=0, **arguments, **kwargs)
    except Exception as error:  # of any kind: unknown arguments, assertions, a folder or hub that cannot be read
        given = ', '.join(f'{key}={value!r}' for key, value in arguments.items())
        raise ConfigError(f'{model_name!r} of timm cannot be built with {given}: {one_line(error)[:300]}') from error


def _built(model_name: str, arguments: Mapping[str, Any]) -> Any:
    """A network, of fake tensors where such are made, as for a memory plan: timm's constructors read values."""
    if not isinstance(torch.empty(0), FakeTensor):
        return create(model_name, arguments)
    with unset_fake_temporarily(), torch.device('meta'):
        network = create(model_name, arguments)
    return network._apply(lambda x: torch.empty(x.shape, dtype=x.dtype))


def network_arguments(
    model_name: str, input_size: Sequence[int], channels: int, model_args: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The arguments for a network of timm; only those of a fixed size are told the size.

    Args:
        model_name: Its name.
        input_size: That of the backbone.
        channels: That of the input.
        model_args: Those of the user.

    Raises:
        ConfigError: ``model_args`` has what the backbone sets itself.
    """
    require_dict('model_args', model_args)
    given = dict(model_args or {})
    for key in _OWN:
        if key in given:
            raise ConfigError(f'model_args.{key}: TimmBackbone sets it; leave it out')
    size = dict(img_size=_image_size(input_size)) if published_of(model_name).get('fixed_input_size') else {}
    return {**size, 'in_chans': channels, **given}


def _is_fixed(published: Mapping[str, Any], model_args: Mapping[str, Any] | None) -> bool:
    given = model_args or {}
    free = given.get('dynamic_img_size') or given.get('strict_img_size') is False
    return bool(published.get('fixed_input_size')) and not free


def _image_size(input_size: Sequence[int]) -> tuple[int, int]:
    return int(input_size[-2]), int(input_size[-1])


def _channels(rank: int, given: int | None) -> int:
    return given if given is not None else (1 if rank == 2 else 3)
