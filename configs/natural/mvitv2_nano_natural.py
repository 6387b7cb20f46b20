"""The video half of the smallest MMT alone (MViTv2).

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mvitv2_nano_natural.py
Expected: top-1 0.569 ± 0.021 (measured here, 10 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
