"""The small MMT on AVSynth, the 16-class task.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mmt/mmt_tiny_avsynth.py
    python tools/test.py configs/mmt/mmt_tiny_avsynth.py work_dirs/mmt_tiny_avsynth/epoch_10.pth

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth.py', '../_base_/schedules/tiny_10e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(num_classes=_base_.num_classes),
)
