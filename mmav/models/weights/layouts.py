"""Key layouts of public checkpoints, and their keys under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmav.errors import CheckpointError

Rules = tuple[tuple[str, str], ...]

# the temporal table comes first in our order of axes; without one the axes are (H, W) or (F, T)
_POOLS: Rules = (
    (r'\.attn\.(pool_[qkv])\.weight$', r'.attn.\1.conv.weight'),
    (r'\.attn\.norm_([qkv])\.', r'.attn.pool_\1.norm.'),
)
_VIT_TRANSFORMERS: Rules = (
    (r'^audio_spectrogram_transformer\.', ''),
    (r'^embeddings\.cls_token$', 'cls_token'),
    (r'^embeddings\.distillation_token$', 'dist_token'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'^layernorm\.', 'norm.'),
)


@dataclass(frozen=True)
class Layout:
    """How one project names its weights.

    Attributes:
        name: Project and model.
        marks: Keys that a file of this layout has, as patterns; every one must be found.
        lacks: Patterns of which none may be found.
        rules: Replacements that turn its keys into ours, in order.
        head: Pattern of the classifier's keys, which are left out.
    """

    name: str
    marks: tuple[str, ...]
    rules: Rules
    head: str
    lacks: tuple[str, ...] = ()


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
        (r'^(module\.)?v\.pos_embed$', r'^(module\.)?v\.blocks\.0\.attn\.qkv\.weight$'),
        ((r'^(module\.)?v\.', ''),),
        r'^(module\.)?(mlp_head|v\.head(_dist)?)\.',
    ),
    Layout(
        'transformers 4 AST',
        (r'embeddings\.position_embeddings$', r'encoder\.layer\.0\.attention\.attention\.query\.weight$'),
        (
            *_VIT_TRANSFORMERS,
            (r'^encoder\.layer\.(\d+)\.', r'blocks.\1.'),
            (r'\.attention\.attention\.(query|key|value)\.', r'.attn.\1.'),
            (r'\.attention\.output\.dense\.', '.attn.proj.'),
            (r'\.intermediate\.dense\.', '.mlp.fc1.'),
            (r'^(blocks\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
        ),
        r'^classifier\.',
    ),
    Layout(
        'transformers 5 AST',
        (r'embeddings\.position_embeddings$', r'layers\.0\.attention\.q_proj\.weight$'),
        (
            *_VIT_TRANSFORMERS,
            (r'^layers\.(\d+)\.', r'blocks.\1.'),
            (r'\.attention\.q_proj\.', '.attn.query.'),
            (r'\.attention\.k_proj\.', '.attn.key.'),
            (r'\.attention\.v_proj\.', '.attn.value.'),
            (r'\.attention\.o_proj\.', '.attn.proj.'),
        ),
        r'^classifier\.',
    ),
    # last, since others have these two keys and more
    Layout('mmav', (r'^patch_embed\.proj\.weight$', r'^blocks\.0\.attn\.qkv\.weight$'), (), r'^head\.'),
)


def state_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint, wherever it keeps them."""
    for key in ('model_state', 'state_dict', 'model'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    return {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}


def find_layout(state: Mapping[str, Tensor], source: str = 'the file') -> Layout:
    """Tells which project wrote the weights.

    Raises:
        CheckpointError: None of those that are known.
    """
    for layout in LAYOUTS:
        found = all(any(re.search(mark, key) for key in state) for mark in layout.marks)
        if found and not any(re.search(lack, key) for lack in layout.lacks for key in state):
            return layout
    known = ', '.join(layout.name for layout in LAYOUTS)
    keys = ', '.join(list(state)[:3]) or 'no tensor'
    raise CheckpointError(f"'{source}' is of none of the layouts that can be read ({known}); it holds {keys}, ...")


def to_ours(state: Mapping[str, Tensor], layout: Layout) -> tuple[dict[str, Tensor], list[str]]:
    """Renames weights.

    Args:
        state: Weights under the keys of ``layout``.
        layout: What :func:`find_layout` found.

    Returns:
        Weights under our keys, and the classifier's keys that were left out.
    """
    left_out = [key for key in state if re.search(layout.head, key)]
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in left_out:
            continue
        for pattern, replacement in layout.rules:
            key = re.sub(pattern, replacement, key)
        # torchvision's class token is a vector
        renamed[key] = value.reshape(1, 1, -1) if key == 'cls_token' else value
    return _join_queries(_number_tables(_number_stages(renamed))), left_out


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
    """Three projections ``attn.query``, ``key``, ``value`` -> one ``attn.qkv``."""
    joined = {}
    for key, value in state.items():
        match = re.match(r'(.*\.attn\.)(query|key|value)\.(weight|bias)$', key)
        if match is None:
            joined[key] = value
        elif match[2] == 'query':
            parts = [state[f'{match[1]}{part}.{match[3]}'] for part in ('query', 'key', 'value')]
            joined[f'{match[1]}qkv.{match[3]}'] = torch.cat(parts)
    return joined
