"""The audio half of the small MMT alone (MAT) on AVSynth, the 16-class task, which audio alone cannot solve.

Train: python tools/train.py configs/mat/mat_tiny_avsynth.py
Expected: top-1 0.254 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../mmt/mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
