"""The small MMT with self-attention over all tokens in place of the bottleneck, on AVSynth.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_merged_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

model = dict(
    neck=dict(_delete_=True, type='MergedAttention', embed_dims=128, num_blocks=2, num_heads=4),
)
