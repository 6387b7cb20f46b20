"""The video half of the small MMT alone (MViTv2) on AVSynth's parity task, of which video alone tells nothing.

    python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity
    python tools/train.py configs/mvitv2/mvitv2_tiny_avsynth.py
    python tools/train.py configs/mvitv2/mvitv2_tiny_avsynth_parity.py

Hardware: 2 CPU cores. Expected: top-1 near 0.25 (chance), see configs/mmt/README.md, measured here.
"""

_base_ = ['../mmt/mmt_tiny_avsynth_parity.py']

load_from = 'work_dirs/mvitv2_tiny_avsynth/epoch_10.pth'

model = dict(
    backbones=dict(audio=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('video',)))
val_dataloader = dict(dataset=dict(modalities=('video',)))
test_dataloader = dict(dataset=dict(modalities=('video',)))
