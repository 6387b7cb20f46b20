"""The small MMT on AVSynth, the 16-class task.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth
Train: python tools/train.py configs/mmt/mmt_tiny_avsynth.py
Expected: top-1 0.985 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth.py', '../_base_/schedules/tiny_10e.py']
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
