"""The video half of the small MMT alone (MViTv2) on AVSynth, the 16-class task, which video alone cannot solve.

Train: python tools/train.py configs/mvitv2/mvitv2_tiny_avsynth.py
Expected: top-1 0.256 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../mmt/mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
