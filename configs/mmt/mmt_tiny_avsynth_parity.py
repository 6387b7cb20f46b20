"""The small MMT on AVSynth's parity task, which only fusion solves.

    python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity
    python tools/train.py configs/mmt/mmt_tiny_avsynth.py
    python tools/train.py configs/mmt/mmt_tiny_avsynth_parity.py

The second command makes the checkpoint that this training starts from. On this task an encoder gets no gradient worth
having as long as the other one sees nothing, so that training from scratch does not leave the ground.
Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_parity.py', '../_base_/schedules/tiny_10e.py']

load_from = 'work_dirs/mmt_tiny_avsynth/epoch_10.pth'

model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(num_classes=_base_.num_classes),
)
# a higher rate would wipe out what the encoders know before the fusion has learned to use it
optim_wrapper = dict(optimizer=dict(lr=3e-4))
