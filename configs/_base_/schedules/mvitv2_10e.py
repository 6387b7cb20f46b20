"""10 epochs of MViTv2-B's recipe, see mvitv2_50e.py, with the same share of warm-up: for lists of millions of clips."""

_base_ = ['./mvitv2_50e.py']

max_epochs = 10

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
