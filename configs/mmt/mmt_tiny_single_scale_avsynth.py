"""The small MMT on AVSynth, its MAT with one scale, as many tokens as MAT's second stage.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_single_scale_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

# 8 x 12 tokens of 64 in all four blocks
model = dict(
    backbones=dict(
        audio=dict(
            arch=dict(embed_dims=64, num_layers=4, num_heads=2, stage_blocks=()),
            patch_kernel=(15, 15),
            patch_stride=(16, 16),
            q_strides=(),
            kv_stride=(1, 1),
        )
    )
)
