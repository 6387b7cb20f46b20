"""The small MMT on AVSynth's parity task, which only fusion solves.

From the checkpoint of mmt_tiny_avsynth.py: an encoder gets no gradient worth having as long as the other one sees
nothing, so that training from scratch does not leave the ground.
Data: python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity
Train: python tools/train.py configs/mmt/mmt_tiny_avsynth_parity.py
Expected: top-1 0.994 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_parity.py', '../_base_/schedules/tiny_10e.py']
load_from = 'work_dirs/mmt_tiny_avsynth/epoch_10.pth'
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
# a higher rate would wipe out what the encoders know before the fusion has learned to use it
optim_wrapper = dict(optimizer=dict(lr=3e-4))
