"""The audio half of the small MMT alone (MAT) on AVSynth's parity task, of which audio alone tells nothing.

Train: python tools/train.py configs/mat/mat_tiny_avsynth_parity.py
Expected: top-1 0.242 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../mmt/mmt_tiny_avsynth_parity.py', '../_base_/variants_tiny.py']
load_from = 'work_dirs/mat_tiny_avsynth/epoch_10.pth'
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
