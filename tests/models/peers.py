"""Public implementations with random weights, and their weights under mmav's names."""

import re

import torch
from torch import nn


def randomise(model: nn.Module) -> nn.Module:
    """Draws every parameter, so that no table or bias that starts at zero hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
        if parameter.dim() == 1:
            parameter.data.add_(0.5)
    return model.eval()


def from_torchvision_mvit(state: dict) -> dict:
    """torchvision.models.video.mvit keys -> ours; the head is left out."""
    rules = [
        (r'^conv_proj\.', 'patch_embed.proj.'),
        (r'\.attn\.project\.0\.', '.attn.proj.'),
        (r'\.attn\.(pool_[qkv])\.pool\.', r'.attn.\1.conv.'),
        (r'\.attn\.(pool_[qkv])\.norm_act\.0\.', r'.attn.\1.norm.'),
        (r'\.attn\.rel_pos_t$', '.attn.rel_pos.tables.0'),
        (r'\.attn\.rel_pos_h$', '.attn.rel_pos.tables.1'),
        (r'\.attn\.rel_pos_w$', '.attn.rel_pos.tables.2'),
        (r'\.mlp\.0\.', '.mlp.fc1.'),
        (r'\.mlp\.3\.', '.mlp.fc2.'),
        (r'\.project\.', '.proj.'),
    ]
    result = {}
    for key, value in state.items():
        if key.startswith('head.'):
            continue
        if key == 'pos_encoding.class_token':
            result['cls_token'] = value.reshape(1, 1, -1)
            continue
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result


def from_timm_mvitv2(state: dict) -> dict:
    """timm.models.mvitv2 keys -> ours; the head is left out."""
    stages = sorted({(int(s), int(b)) for s, b in re.findall(r'stages\.(\d+)\.blocks\.(\d+)\.', ' '.join(state))})
    order = {pair: index for index, pair in enumerate(stages)}
    rules = [
        (r'\.attn\.(pool_[qkv])\.', r'.attn.\1.conv.'),
        (r'\.attn\.norm_([qkv])\.', r'.attn.pool_\1.norm.'),
        (r'\.attn\.rel_pos_h$', '.attn.rel_pos.tables.0'),
        (r'\.attn\.rel_pos_w$', '.attn.rel_pos.tables.1'),
        (r'\.shortcut_proj_attn\.', '.proj.'),
    ]
    result = {}
    for key, value in state.items():
        if key.startswith('head.'):
            continue
        key = re.sub(r'stages\.(\d+)\.blocks\.(\d+)\.', lambda m: f'blocks.{order[int(m[1]), int(m[2])]}.', key)
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result


def from_transformers_ast(state: dict) -> dict:
    """transformers (version 5) ASTModel keys -> ours; queries, keys and values are joined."""
    rules = [
        (r'^embeddings\.cls_token$', 'cls_token'),
        (r'^embeddings\.distillation_token$', 'dist_token'),
        (r'^embeddings\.position_embeddings$', 'pos_embed'),
        (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
        (r'^layers\.(\d+)\.layernorm_before\.', r'blocks.\1.norm1.'),
        (r'^layers\.(\d+)\.layernorm_after\.', r'blocks.\1.norm2.'),
        (r'^layers\.(\d+)\.attention\.o_proj\.', r'blocks.\1.attn.proj.'),
        (r'^layers\.(\d+)\.mlp\.', r'blocks.\1.mlp.'),
        (r'^layernorm\.', 'norm.'),
    ]
    result = {}
    for key, value in state.items():
        if re.search(r'\.[kv]_proj\.', key):
            continue
        if '.q_proj.' in key:
            value = torch.cat([state[key.replace('.q_proj.', f'.{part}_proj.')] for part in 'qkv'])
            key = re.sub(r'^layers\.(\d+)\.attention\.q_proj\.', r'blocks.\1.attn.qkv.', key)
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result
