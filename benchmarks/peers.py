"""Our encoders and public implementations of them, with the same weights."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmav.engine import turn_on_activation_checkpointing
from mmav.errors import ConfigError, MmavError
from mmav.models import AST, MAT, MViTv2
from mmav.models.backbones.mvit import resolve_arch
from mmav.models.weights.layouts import find_layout, to_ours

# case -> package that it is compared with
PACKAGES = dict(video='torchvision', image='timm', ast='transformers')
# transformers' forms of attention; those of a GPU are left out where they do not run
AST_FORMS, AST_GPU_FORMS = ('sdpa', 'eager'), ('flash_attention_2', 'flex_attention')


class DoesNotFit(MmavError):
    """The memory is too small for a case."""


@dataclass(frozen=True)
class Case:
    """Models that are compared.

    Attributes:
        what: Model and input in words.
        shape: Shape of one input, without the batch.
        contenders: Name -> model from (B, *shape) to (B, D). The first is ours, or the newer of two of ours.
        same: Whether the models have the same weights and must return the same.
        modes: What is timed by default.
        optional: Contenders that are left out where they do not run.
        double: Whether all run in float64, in which gradients are compared most tightly.
    """

    what: str
    shape: tuple[int, ...]
    contenders: Mapping[str, nn.Module]
    same: bool = True
    modes: tuple[str, ...] = ('forward', 'backward')
    optional: frozenset[str] = field(default_factory=frozenset)
    double: bool = True


class ClassEmbedding(nn.Module):
    """One of our encoders, up to the class embedding (B, D)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Encodes (B, C, ...)."""
        return self.encoder(x).cls


class PooledAST(nn.Module):
    """transformers' AST for spectrograms in our layout."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Encodes (B, 1, F, T); it takes (B, T, F)."""
        return self.model(x[:, 0].transpose(1, 2)).pooler_output


def require_peers(cases: Sequence[str]) -> None:
    """Makes sure that the packages that some cases need are installed.

    Raises:
        ConfigError: One is missing; says how to install it or what to leave out.
    """
    missing = {case: PACKAGES[case] for case in cases if case in PACKAGES and not _installed(PACKAGES[case])}
    if missing:
        packages = ' '.join(missing.values())
        raise ConfigError(
            f'not installed: {packages.replace(" ", ", ")}; pip install {packages} -c requirements/constraints.txt, or '
            f'leave {" and ".join(missing)} out of --cases'
        )


def peer_versions() -> dict[str, str]:
    """Versions of the installed packages that ours are compared with."""
    return {name: importlib.metadata.version(name) for name in PACKAGES.values() if _installed(name)}


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def draw_parameters(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draws all parameters, so that no table or bias that is zero at first hides a mistake; returns the model.

    Matrices and kernels keep the variance and gains are near one, so that the output depends on the input: if biases
    dominated it, it would be the same whatever is computed.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(float(name.endswith('weight')), 0.2, generator=generator)
            elif parameter.shape[0] == 1:  # tokens and positions
                parameter.normal_(0.0, 0.5, generator=generator)
            else:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    return model


def give_weights(ours: nn.Module, theirs: nn.Module, name: str) -> None:
    """Copies the weights of a public implementation into our encoder with the converter of public checkpoints.

    Raises:
        CheckpointError: Their names are unknown.
    """
    state = theirs.state_dict()
    ours.load_state_dict(to_ours(state, find_layout(state, name))[0])


def video_case(*, arch: str | Mapping[str, Any] = 'small', size: tuple[int, int, int] = (16, 224, 224)) -> Case:
    """MViTv2 on clips, beside torchvision's.

    Args:
        arch: As :class:`~mmav.models.MViTv2` takes it; 'small' at the default size is ``mvit_v2_s``.
        size: Of the clips (T, H, W).
    """
    from torchvision.models.video import MViT
    from torchvision.models.video.mvit import MSBlockConfig

    # tests/benchmarks/test_peers.py checks that these settings are those of mvit_v2_s
    sizes = resolve_arch(arch)
    width, heads, kv_stride = sizes['embed_dims'], sizes['num_heads'], 8
    settings = []
    for index in range(sizes['num_layers']):
        factor = 2 if index in sizes['stage_blocks'] else 1
        heads, kv_stride = factor * heads, max(kv_stride // factor, 1)
        kernels = dict(kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3])
        strides = dict(stride_q=[1, factor, factor], stride_kv=[1, kv_stride, kv_stride])
        settings.append(MSBlockConfig(heads, width, factor * width, **kernels, **strides))
        width *= factor
    theirs = MViT(
        spatial_size=size[1:],
        temporal_size=size[0],
        block_setting=settings,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
    )
    theirs.head = nn.Identity()
    ours = MViTv2(arch, input_size=size)
    give_weights(ours, draw_parameters(theirs), 'torchvision')
    contenders = dict(mmav=ClassEmbedding(ours), torchvision=theirs)
    return Case(f'MViTv2{_arch_name(arch)}, {_by(size)}', (3, *size), contenders)


def image_case(*, arch: str | Mapping[str, Any] = 'base', size: tuple[int, int] = (224, 224)) -> Case:
    """MViTv2 on images, beside timm's.

    Args:
        arch: As :class:`~mmav.models.MViTv2` takes it; 'base' at the default size is ``mvitv2_base``.
        size: Of the images (H, W).
    """
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg

    tuples: dict[str, Any] = dict(patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(4, 4))
    ours = MViTv2(arch, input_size=size, cls_token=False, **tuples)
    sizes = resolve_arch(arch)
    bounds = (0, *sizes['stage_blocks'], sizes['num_layers'])
    stages = len(bounds) - 1
    cfg = MultiScaleVitCfg(
        depths=tuple(end - start for start, end in itertools.pairwise(bounds)),
        embed_dim=tuple(sizes['embed_dims'] * 2**stage for stage in range(stages)),
        num_heads=tuple(sizes['num_heads'] * 2**stage for stage in range(stages)),
        stride_q=((1, 1), *[(2, 2)] * (stages - 1)),  # type: ignore[arg-type]
    )
    theirs = MultiScaleVit(cfg, img_size=size, num_classes=0)
    give_weights(ours, draw_parameters(theirs), 'timm')
    contenders = dict(mmav=ClassEmbedding(ours), timm=theirs)
    return Case(f'MViTv2{_arch_name(arch)} of images, {_by(size)}', (3, *size), contenders)


def ast_case(*, size: tuple[int, int] = (128, 1024), width: int = 768, layers: int = 12, heads: int = 12) -> Case:
    """AST, beside transformers' with each of its forms of attention.

    Args:
        size: Of the spectrograms (F, T).
        width: Width of the tokens.
        layers: Number of blocks.
        heads: Heads of each.
    """
    from transformers import ASTConfig, ASTModel

    ours = AST(size, embed_dims=width, num_layers=layers, num_heads=heads)
    contenders: dict[str, nn.Module] = dict(mmav=ClassEmbedding(ours))
    forms = AST_FORMS + (AST_GPU_FORMS if torch.cuda.is_available() else ())
    for form in forms:
        config = ASTConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            num_mel_bins=size[0],
            max_length=size[1],
            layer_norm_eps=1e-6,  # what the weights were trained with, and ours
            attn_implementation=form,  # type: ignore[call-arg]
        )
        try:
            theirs = draw_parameters(ASTModel(config))
        except ImportError:
            if form in AST_FORMS:
                raise
            continue
        contenders[f'transformers, {form}'] = PooledAST(theirs)
        if form == AST_FORMS[0]:
            give_weights(ours, theirs, 'transformers')
    optional = frozenset(f'transformers, {form}' for form in AST_GPU_FORMS)
    return Case(f'AST, {_by(size)}', (1, *size), contenders, optional=optional)


def mat_case(
    *,
    arch: str | Mapping[str, Any] = 'base',
    size: tuple[int, int] = (128, 1024),
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
) -> Case:
    """Our MAT beside our AST: the paper's claim, forward and backward pass. The arguments are those of the two."""
    mat = MAT(arch, input_size=size, **_fitting_strides(arch))
    ast = AST(size, embed_dims=width, num_layers=layers, num_heads=heads)
    contenders = {name: ClassEmbedding(draw_parameters(model)) for name, model in (('MAT', mat), ('AST', ast))}
    return Case(f'MAT and AST, {_by(size)}', (1, *size), contenders, same=False, modes=('backward',))


def attention_case(
    *,
    arch: str | Mapping[str, Any] = 'base',
    size: Sequence[int] = (16, 224, 224),
    forms: Sequence[str] = ('auto', 'explicit'),
    lean: bool = False,
) -> Case:
    """A training step of an encoder with one form of attention and with others, by default the explicit one.

    The explicit form, with scores and bias written out, is that of open-mmlab/mmaction2,
    mmaction/models/backbones/mvit.py.

    Args:
        arch: As :class:`~mmav.models.MViTv2` takes it.
        size: Of clips (T, H, W), for MViTv2, or of spectrograms (F, T), for MAT.
        forms: The forms, as ``attention`` of the encoders takes them.
        lean: Whether the blocks of the first one are lean, the default of training on a GPU; public code keeps all.
    """
    video = len(size) == 3
    build = partial(MViTv2, arch, size) if video else partial(MAT, arch, size, **_fitting_strides(arch))
    models = {form: draw_parameters(build(attention=form)) for form in forms}
    if lean:
        turn_on_activation_checkpointing(models[forms[0]], 'lean')
    names = {form: f'attention={form}' + ', lean' * (lean and form == forms[0]) for form in forms}
    contenders = {names[form]: ClassEmbedding(model) for form, model in models.items()}
    what = f'MViTv2{_arch_name(arch)}, {_by(size)}' if video else f'MAT, {_by(size)}'
    # Triton's kernels compute in float32 and half types
    return Case(what, (3 if video else 1, *size), contenders, modes=('step',), double='triton' not in forms)


# the cases that are timed; those of memory are in benchmarks/peer_memory.py
CASES: dict[str, Callable[[], Case]] = dict(
    video=video_case, image=image_case, ast=ast_case, mat=mat_case, attention=attention_case
)


def _fitting_strides(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """MAT's strides for a model of another number of stages, all the same; nothing for the paper's."""
    stages = len(resolve_arch(arch)['stage_blocks'])
    return {} if stages == 3 else dict(q_strides=[(2, 2)] * stages)


def _arch_name(arch: str | Mapping[str, Any]) -> str:
    return f'-{arch[0].upper()}' if isinstance(arch, str) else ''


def _by(size: Sequence[int]) -> str:
    return 'x'.join(map(str, size))
