"""The small MMT on AVSynth, its MAT with pooling along time and frequency in every stage.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_2d_only_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

# 16 x 24, 8 x 12, 4 x 6 tokens
model = dict(backbones=dict(audio=dict(q_strides=((2, 2), (2, 2)))))
