"""The small MMT with three blocks at constant resolution in place of MAT, on AVSynth.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_no_mat_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

model = dict(
    backbones=dict(
        audio=dict(
            _delete_=True,
            type='AST',
            input_size=(128, 192),
            patch_kernel=(7, 7),
            patch_stride=(8, 8),
            patch_padding=3,
            embed_dims=128,
            num_layers=3,
            num_heads=4,
            dist_token=False,
            init_std=0.08,
        ),
    ),
)
