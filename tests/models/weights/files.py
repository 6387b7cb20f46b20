"""Random weights in the files of public projects, written key by key as those projects distribute them."""

import re

import torch


def slowfast(ours: dict) -> dict:
    """Our MViTv2 keys -> facebookresearch/SlowFast's and facebookresearch/mvit's (``model_state``)."""
    axes = 'thw' if any(key.endswith('rel_pos.tables.2') for key in ours) else 'hw'
    state = {}
    for key, value in ours.items():
        key = re.sub(r'\.(pool_[qkv])\.conv\.weight', r'.\1.weight', key)
        key = re.sub(r'\.pool_([qkv])\.norm\.', r'.norm_\1.', key)
        key = re.sub(r'\.rel_pos\.tables\.(\d)', lambda m: f'.rel_pos_{axes[int(m[1])]}', key)
        state[key] = value
    state['head.projection.weight'] = torch.zeros(7, 768)
    state['head.projection.bias'] = torch.zeros(7)
    return dict(epoch=3, cfg='MODEL: MViT', model_state=state)


def openmmlab(ours: dict, head: str) -> dict:
    """Our MViTv2 keys -> mmaction2's (head ``cls_head.fc_cls``) and mmpretrain's (``head.fc``) (``state_dict``)."""
    state = {}
    for key, value in slowfast(ours)['model_state'].items():
        if key.startswith('head.projection'):
            key = key.replace('head.projection', head)
        else:
            key = re.sub(r'^norm\.', 'norm3.', key).replace('patch_embed.proj.', 'patch_embed.projection.')
            key = f'backbone.{key}'
        state[key] = value
    return dict(meta=dict(epoch=1), state_dict=state)


def as_transformers_4(state: dict) -> dict:
    """AST, ViT and DeiT of transformers 5 -> the names before: encoder.layer.N.attention.attention.query and so on."""
    result = {}
    for key, value in state.items():
        key = re.sub(r'(^|\.)layers\.', r'\1encoder.layer.', key)
        for new, old in (('q', 'query'), ('k', 'key'), ('v', 'value')):
            key = key.replace(f'.attention.{new}_proj.', f'.attention.attention.{old}.')
        key = key.replace('.attention.o_proj.', '.attention.output.dense.')
        key = key.replace('.mlp.fc1.', '.intermediate.dense.').replace('.mlp.fc2.', '.output.dense.')
        result[key] = value
    return result


def as_mmpretrain(state: dict) -> dict:
    """timm's ViT keys -> mmpretrain's (mmpretrain/models/backbones/vision_transformer.py)."""
    result = {}
    for key, value in state.items():
        if key.startswith('head.'):
            result[key.replace('head.', 'head.layers.head.')] = value
            continue
        key = re.sub(r'\.norm([12])\.', r'.ln\1.', key.replace('patch_embed.proj.', 'patch_embed.projection.'))
        key = re.sub(r'^blocks\.', 'layers.', re.sub(r'^norm\.', 'ln1.', key))
        key = key.replace('.mlp.fc1.', '.ffn.layers.0.0.').replace('.mlp.fc2.', '.ffn.layers.1.')
        result[f'backbone.{key}'] = value
    return dict(meta={}, state_dict=result)
