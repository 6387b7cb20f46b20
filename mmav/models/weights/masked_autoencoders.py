"""Layouts of VideoMAE and Hiera: pretrained, with a decoder, and fine-tuned, with a classifier."""

from __future__ import annotations

from mmav.models.weights.naming import Layout

# A pretrained Hiera has a norm of several stages together in place of the last one's.
_FRESH = r'^norm\.(weight|bias)$'
# The public models all take 16 frames of 224 x 224 in tubelets of 2 x 16 x 16.
VIDEOMAE_GRID = (8, 14, 14)

MAE_LAYOUTS = (
    Layout(
        'VideoMAE (MCG-NJU/VideoMAE)',
        (r'^(encoder\.)?patch_embed\.proj\.weight$', r'^(encoder\.)?blocks\.0\.attn\.q_bias$'),
        ((r'^encoder\.', ''), (r'^fc_norm\.', 'norm.')),
        r'^(head|decoder|encoder_to_decoder|encoder\.head)\.|^mask_token$',
        lacks=(r'(^|\.)cls_token$', r'relative_position_bias_table$'),  # BEiT
        sincos=VIDEOMAE_GRID,
    ),
    Layout(
        'transformers VideoMAE',
        (
            r'^(videomae\.)?embeddings\.patch_embeddings\.projection\.weight$',
            r'^(videomae\.)?encoder\.layer\.0\.attention\.attention\.query\.weight$',
        ),
        (
            (r'^videomae\.', ''),
            (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
            (r'^encoder\.layer\.(\d+)\.', r'blocks.\1.'),
            (r'\.layernorm_before\.', '.norm1.'),
            (r'\.layernorm_after\.', '.norm2.'),
            # version 4 has biases of queries and values apart from the layers
            (r'\.attention\.attention\.([qv]_bias)$', r'.attn.\1'),
            (r'\.attention\.attention\.(query|key|value)\.', r'.attn.\1.'),
            (r'\.attention\.output\.dense\.', '.attn.proj.'),
            (r'\.intermediate\.dense\.', '.mlp.fc1.'),
            (r'^(blocks\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
            (r'^(fc_norm|layernorm)\.', 'norm.'),
        ),
        r'^(classifier|decoder|encoder_to_decoder)\.|^mask_token$',
        lacks=(r'position_embeddings$', r'cls_token$'),
        fresh=_FRESH,
        sincos=VIDEOMAE_GRID,
    ),
    Layout(
        'Hiera (facebookresearch/hiera, timm)',
        (r'^patch_embed\.proj\.weight$', r'^blocks\.0\.attn\.qkv\.weight$', r'^blocks\.\d+\.proj\.weight$'),
        ((r'^head\.norm\.', 'norm.'),),
        r'^(head\.(projection|fc)|decoder\w*|encoder_norm|multi_scale_fusion_heads)\.|^(mask_token|decoder_pos_embed)$',
        # MViTv2; and positions of windows beside those of the image, SAM 2's and timm's "abswin"
        lacks=(r'\.pool_q\.', r'^pos_embed_win'),
        fresh=_FRESH,
    ),
    Layout(
        'transformers Hiera',
        (r'embeddings\.position_embeddings$', r'encoder\.stages\.0\.layers\.0\.attn\.qkv\.weight$'),
        (
            (r'^hiera\.', ''),
            (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
            (r'^embeddings\.position_embeddings$', 'pos_embed'),
            (r'^encoder\.stages\.(\d+)\.layers\.(\d+)\.', r'stages.\1.blocks.\2.'),
            (r'\.layernorm_before\.', '.norm1.'),
            (r'\.layernorm_after\.', '.norm2.'),
            (r'^pooler\.layernorm\.', 'norm.'),
        ),
        r'^(classifier|decoder|encoder_norm|multiscale_fusion)\.',
        fresh=_FRESH,
    ),
)
