"""20 epochs of AdamW for small encoders from scratch, for a batch of 16."""

_base_ = ['./mvitv2_50e.py']

max_epochs = 20

optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
precision = dict(amp='none')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)

train_cfg = dict(max_epochs=max_epochs)
