"""The video half of the small MMT alone (MViTv2) on AVSynth, the 16-class task, which video alone cannot solve.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py configs/mvitv2/mvitv2_tiny_avsynth.py

Hardware: 2 CPU cores. Expected: top-1 near 0.25, see configs/mmt/README.md, measured here.
"""

_base_ = ['../mmt/mmt_tiny_avsynth.py']

model = dict(
    backbones=dict(audio=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('video',)))
val_dataloader = dict(dataset=dict(modalities=('video',)))
test_dataloader = dict(dataset=dict(modalities=('video',)))
