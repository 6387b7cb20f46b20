"""The small MMT without fusion blocks, one classifier on both class tokens, on AVSynth.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_concat_avsynth.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

model = dict(neck=dict(_delete_=True, type='Concat'))
