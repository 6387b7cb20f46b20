"""The small MMT on AVSynth, its MAT with pooling along time only.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_time_only_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

# 16 x 24, 16 x 6, 16 x 3 tokens, as many as MAT has; the kernel of 5 leaves out no frame at stride 4
model = dict(backbones=dict(audio=dict(q_strides=((1, 4), (1, 2)), kv_stride=(1, 4), pool_kernel=(3, 5))))
