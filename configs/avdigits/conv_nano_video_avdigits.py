"""The video half alone.

Train: python tools/train.py configs/avdigits/conv_nano_video_avdigits.py --cache ram
Expected: top-1 0.651 ± 0.035 (measured here, 3 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
