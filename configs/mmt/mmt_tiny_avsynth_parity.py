"""The small MMT on AVSynth's parity task, which only fusion solves.

    python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity
    python tools/train.py configs/mmt/mmt_tiny_avsynth_parity.py

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_parity.py', '../_base_/schedules/tiny_10e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(num_classes=_base_.num_classes),
)
