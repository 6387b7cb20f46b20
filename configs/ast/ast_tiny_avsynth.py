"""A small AST alone on AVSynth, the 16-class task, which audio alone cannot solve.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/ast/ast_tiny_avsynth.py

Hardware: 2 CPU cores. Expected: top-1 near 0.25, see configs/mmt/README.md, measured here.
"""

_base_ = ['../mat/mat_tiny_avsynth.py']

model = dict(
    backbones=dict(
        audio=dict(
            _delete_=True,
            type='AST',
            input_size=(128, 192),
            embed_dims=128,
            num_layers=3,
            num_heads=4,
            init_std=0.08,
        ),
    ),
)
