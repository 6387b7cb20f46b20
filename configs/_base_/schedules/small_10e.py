"""10 epochs of AdamW for small convolutional encoders from scratch, batches of 32. It validates once, at the end."""

_base_ = ['./small_20e.py']

max_epochs = 10

optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
