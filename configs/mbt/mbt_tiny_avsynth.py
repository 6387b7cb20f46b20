"""A small MBT on AVSynth: two encoders at constant resolution, bottleneck updates averaged.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mbt/mbt_tiny_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../mmt/mmt_tiny_avsynth.py']

encoder = dict(embed_dims=128, num_layers=2, num_heads=4, final_norm=False, init_std=0.08)
model = dict(
    backbones=dict(
        video=dict(_delete_=True, **encoder, type='ViT', input_size=(8, 64, 64)),
        audio=dict(
            _delete_=True, **encoder, type='AST', input_size=(128, 192), patch_stride=(16, 16), dist_token=False
        ),
    ),
    neck=dict(update='average'),
)
