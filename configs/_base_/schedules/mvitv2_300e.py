"""300 epochs of MViTv2-B's recipe, see mvitv2_50e.py, with the same share of warm-up."""

_base_ = ['./mvitv2_50e.py']

max_epochs = 300

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=45, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=45, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
