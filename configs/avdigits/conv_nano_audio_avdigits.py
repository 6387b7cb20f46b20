"""The audio half alone.

Train: python tools/train.py configs/avdigits/conv_nano_audio_avdigits.py --cache ram
Expected: top-1 0.666 ± 0.010 (measured here, 3 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
