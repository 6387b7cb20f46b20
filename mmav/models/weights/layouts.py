"""Key layouts of public checkpoints, and how their keys map to our names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmav.errors import CheckpointError
from mmav.models.layers.absolute_position import sincos_positions
from mmav.models.weights.masked_autoencoders import MAE_LAYOUTS
from mmav.models.weights.naming import Layout, Rules
from mmav.models.weights.own_checkpoint import KERNEL

# the temporal table comes first in our order of axes; without one the axes are (H, W) or (F, T)
_POOLS: Rules = (
    (r'\.attn\.(pool_[qkv])\.weight$', r'.attn.\1.conv.weight'),
    (r'\.attn\.norm_([qkv])\.', r'.attn.pool_\1.norm.'),
)
_VIT_TRANSFORMERS: Rules = (
    (r'^(audio_spectrogram_transformer|vit|deit)\.', ''),
    (r'^embeddings\.cls_token$', 'cls_token'),
    (r'^embeddings\.distillation_token$', 'dist_token'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'^layernorm\.', 'norm.'),
)
_HEADS_TRANSFORMERS = r'^((cls_|distillation_)?classifier|(vit\.|deit\.)?pooler)\.'


LAYOUTS = (
    Layout(
        'SlowFast MViTv2 (video)',
        (r'^patch_embed\.proj\.weight$', r'^blocks\.0\.attn\.pool_q\.weight$', r'^blocks\.0\.attn\.rel_pos_t$'),
        _POOLS,
        r'^head\.',
    ),
    Layout(
        'facebookresearch/mvit MViTv2 (image)',
        (r'^patch_embed\.proj\.weight$', r'^blocks\.0\.attn\.pool_q\.weight$', r'^blocks\.0\.attn\.rel_pos_h$'),
        _POOLS,
        r'^head\.',
        lacks=(r'rel_pos_t$',),
    ),
    Layout(
        'OpenMMLab MViTv2 (mmaction2, mmpretrain)',
        (r'^backbone\.patch_embed\.projection\.weight$', r'^backbone\.blocks\.0\.attn\.pool_q\.weight$'),
        (
            (r'^backbone\.', ''),
            (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
            (r'^norm\d+\.', 'norm.'),
            *_POOLS,
        ),
        r'^(cls_head|head)\.',
    ),
    Layout(
        'timm mvitv2',
        (r'^patch_embed\.proj\.weight$', r'^stages\.0\.blocks\.0\.attn\.pool_q\.weight$'),
        ((r'\.shortcut_proj_attn\.', '.proj.'), *_POOLS),
        r'^head\.',
    ),
    Layout(
        'torchvision MViTv2',
        (r'^conv_proj\.weight$', r'^blocks\.0\.attn\.pool_q\.pool\.weight$', r'^blocks\.0\.attn\.rel_pos_t$'),
        (
            (r'^conv_proj\.', 'patch_embed.proj.'),
            (r'^pos_encoding\.class_token$', 'cls_token'),
            (r'\.attn\.(pool_[qkv])\.pool\.', r'.attn.\1.conv.'),
            (r'\.attn\.(pool_[qkv])\.norm_act\.0\.', r'.attn.\1.norm.'),
            (r'\.attn\.project\.0\.', '.attn.proj.'),
            (r'\.mlp\.0\.', '.mlp.fc1.'),
            (r'\.mlp\.3\.', '.mlp.fc2.'),
            (r'^(blocks\.\d+)\.project\.', r'\1.proj.'),
        ),
        r'^head\.',
    ),
    Layout(
        'AST (YuanGongND/ast)',
        (r'^v\.pos_embed$', r'^v\.blocks\.0\.attn\.qkv\.weight$'),
        ((r'^v\.', ''),),
        r'^(mlp_head|v\.head(_dist)?)\.',
    ),
    Layout(
        'OpenMMLab ViT, DeiT (mmpretrain)',
        (r'^backbone\.pos_embed$', r'^backbone\.layers\.0\.attn\.qkv\.weight$'),
        (
            (r'^backbone\.', ''),
            (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
            (r'^layers\.(\d+)\.', r'blocks.\1.'),
            # "norm" before mmpretrain, "ln" since; the model's own counts from 1 as those of a block do
            (r'^(blocks\.\d+)\.(?:ln|norm)([12])\.', r'\1.norm\2.'),
            (r'^(?:ln|norm)1\.', 'norm.'),
            (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
            (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
        ),
        r'^head\.',
    ),
    Layout(
        'torchvision ViT',
        (r'^encoder\.pos_embedding$', r'^encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight$'),
        (
            (r'^class_token$', 'cls_token'),
            (r'^conv_proj\.', 'patch_embed.proj.'),
            (r'^encoder\.pos_embedding$', 'pos_embed'),
            (r'^encoder\.ln\.', 'norm.'),
            (r'^encoder\.layers\.encoder_layer_(\d+)\.', r'blocks.\1.'),
            (r'\.ln_([12])\.', r'.norm\1.'),
            (r'\.self_attention\.in_proj_', '.attn.qkv.'),
            (r'\.self_attention\.out_proj\.', '.attn.proj.'),
            # its files say linear_1 and linear_2, its code says 0 and 3
            (r'\.mlp\.(?:0|linear_1)\.', '.mlp.fc1.'),
            (r'\.mlp\.(?:3|linear_2)\.', '.mlp.fc2.'),
        ),
        r'^heads\.',
    ),
    Layout(
        'transformers 4 AST, ViT, DeiT',
        (r'embeddings\.position_embeddings$', r'encoder\.layer\.0\.attention\.attention\.query\.weight$'),
        (
            *_VIT_TRANSFORMERS,
            (r'^encoder\.layer\.(\d+)\.', r'blocks.\1.'),
            (r'\.attention\.attention\.(query|key|value)\.', r'.attn.\1.'),
            (r'\.attention\.output\.dense\.', '.attn.proj.'),
            (r'\.intermediate\.dense\.', '.mlp.fc1.'),
            (r'^(blocks\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
        ),
        _HEADS_TRANSFORMERS,
    ),
    Layout(
        'transformers 5 AST, ViT, DeiT',
        (r'embeddings\.position_embeddings$', r'layers\.0\.attention\.q_proj\.weight$'),
        (
            *_VIT_TRANSFORMERS,
            (r'^layers\.(\d+)\.', r'blocks.\1.'),
            (r'\.attention\.q_proj\.', '.attn.query.'),
            (r'\.attention\.k_proj\.', '.attn.key.'),
            (r'\.attention\.v_proj\.', '.attn.value.'),
            (r'\.attention\.o_proj\.', '.attn.proj.'),
        ),
        _HEADS_TRANSFORMERS,
    ),
    *MAE_LAYOUTS,
    Layout(
        'ViT, DeiT, AST (timm, facebookresearch/deit, mmav)',
        (r'^patch_embed\.proj\.weight$', r'^pos_embed$', r'^blocks\.0\.attn\.qkv\.weight$'),
        (),
        r'^(head(_dist)?|pre_logits)\.',
        lacks=(r'\.pool_q\.',),
    ),
    # last, since others have these two keys and more
    Layout('mmav', (r'^patch_embed\.proj\.weight$', r'^blocks\.0\.attn\.qkv\.weight$'), (), r'^head\.'),
)


# DistributedDataParallel's, torch.compile's, Lightning's
_WRAPPERS = ('module.', '_orig_mod.', 'model.')


def state_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights of a checkpoint in any known place; drops the prefixes of wrapped models."""
    for key in ('model_state', 'state_dict', 'model', 'module'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    state = {str(key): value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    while state and (found := [each for each in _WRAPPERS if all(key.startswith(each) for key in state)]):
        state = {key.removeprefix(found[0]): value for key, value in state.items()}
    return state


def find_layout(state: Mapping[str, Tensor], source: str = 'the file') -> Layout:
    """Finds the project that wrote the weights.

    Raises:
        CheckpointError: The layout is unknown.
    """
    for layout in LAYOUTS:
        found = all(any(re.search(mark, key) for key in state) for mark in layout.marks)
        if found and not any(re.search(lack, key) for lack in layout.lacks for key in state):
            return layout
    known = ', '.join(layout.name for layout in LAYOUTS)
    keys = ', '.join(list(state)[:3]) or 'no tensor'
    raise CheckpointError(f"'{source}' is of none of the layouts that can be read ({known}); it holds {keys}, ...")


def to_ours(
    state: Mapping[str, Tensor], layout: Layout, grid: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """Renames weights.

    Args:
        state: Weights under the keys of ``layout``.
        layout: What :func:`find_layout` found.
        grid: That of the positions, where the layout has fixed ones that its files leave out; defaults to ``sincos``.

    Returns:
        Weights under our keys, and the classifier's keys that were left out.

    Raises:
        CheckpointError: Two weights get the same name, as the norms of several outputs do.
    """
    left_out = [key for key in state if re.search(layout.head, key)]
    renamed: dict[str, Tensor] = {}
    olds: dict[str, str] = {}
    for old, value in state.items():
        if old in left_out:
            continue
        key = old
        for pattern, replacement in layout.rules:
            key = re.sub(pattern, replacement, key)
        if olds.setdefault(key, old) != old:
            raise CheckpointError(
                f"'{olds[key]}' and '{old}' are both {key} ({layout.name}): leave one of them in the file"
            )
        # torchvision's class token is a vector
        renamed[key] = value.reshape(1, 1, -1) if key == 'cls_token' else value
    renamed = _join_queries(_number_tables(_number_stages(renamed)))
    if layout.sincos and 'pos_embed' not in renamed and KERNEL in renamed:
        renamed['pos_embed'] = sincos_positions(math.prod(grid or layout.sincos), renamed[KERNEL].shape[0])
    return renamed, left_out


def _number_stages(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``stages.S.blocks.B.`` -> ``blocks.N.``, N counted through the stages."""
    pattern = re.compile(r'^stages\.(\d+)\.blocks\.(\d+)\.')
    places = sorted({(int(m[1]), int(m[2])) for key in state if (m := pattern.match(key))})
    number = {place: index for index, place in enumerate(places)}
    return {
        pattern.sub(lambda m: f'blocks.{number[int(m[1]), int(m[2])]}.', key): value for key, value in state.items()
    }


def _number_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``rel_pos_t``, ``_h``, ``_w`` -> tables in the order of our axes."""
    axes = 'thw' if any(key.endswith('.rel_pos_t') for key in state) else 'hw'
    return {
        re.sub(r'\.rel_pos_([thw])$', lambda m: f'.rel_pos.tables.{axes.index(m[1])}', key): value
        for key, value in state.items()
    }


def _join_queries(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Three projections ``attn.query``, ``key``, ``value`` -> one ``attn.qkv``; ``q_bias`` and ``v_bias`` -> its bias.

    Keys without a bias have zeros: the same for all keys, it would not change a softmax over them.
    """
    joined = {}
    for key, value in state.items():
        match = re.match(r'(.*\.attn\.)(?:(query|key|value)\.(weight|bias)|([qv])_bias)$', key)
        if match is None:
            joined[key] = value
        elif match[4] == 'q':
            joined[f'{match[1]}qkv.bias'] = torch.cat((value, torch.zeros_like(value), _of(state, f'{match[1]}v_bias')))
        elif match[2] == 'query':
            zeros = {f'{match[1]}key.bias': torch.zeros_like(value)}
            names = [f'{match[1]}{part}.{match[3]}' for part in ('query', 'key', 'value')]
            joined[f'{match[1]}qkv.{match[3]}'] = torch.cat([_of({**zeros, **state}, name) for name in names])
    return joined


def _of(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise CheckpointError(f'the file lacks {name}: is it whole?')
    return state[name]


def begin_time(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Moves an image model's relative positions to their places in a clip model.

    Time is the first axis there: the tables of rows and columns become the second and third, and those over time are
    zero, so that no frame is preferred.

    Args:
        state: A file's weights under our keys.
        target: The model's.

    Returns:
        Weights, and the keys of the tables that start at zero; the same weights if there is nothing to do.
    """
    number = {rank: sum(f'.tables.{rank - 1}' in key for key in state) for rank in (2, 3)}
    begun = [key for key in target if key.endswith('.rel_pos.tables.2')]
    if not begun or number[3] or not number[2]:
        return dict(state), []
    moved = {
        re.sub(r'(\.rel_pos\.tables\.)([01])$', lambda m: f'{m[1]}{int(m[2]) + 1}', key): value
        for key, value in state.items()
    }
    times = [key for key in (key.replace('.tables.2', '.tables.0') for key in begun) if key in state]
    return {**moved, **{key: torch.zeros_like(target[key]) for key in times}}, times
