"""The video half of the small MMT alone (MViTv2) on AVSynth's parity task, of which video alone tells nothing.

Train: python tools/train.py configs/mvitv2/mvitv2_tiny_avsynth_parity.py
Expected: top-1 0.263 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../mmt/mmt_tiny_avsynth_parity.py', '../_base_/variants_tiny.py']
load_from = 'work_dirs/mvitv2_tiny_avsynth/epoch_10.pth'
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
