"""16 epochs of AdamW for the smallest models on one core of a CPU, for a batch of 64. It validates at the end alone."""

_base_ = ['./mvitv2_50e.py']

max_epochs = 16

optim_wrapper = dict(optimizer=dict(lr=3e-3), paramwise_cfg=dict(token_decay_mult=0.0))
precision = dict(amp='none')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=2, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=max_epochs, max_keep_ckpts=1))

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
