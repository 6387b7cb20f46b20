"""10 epochs of AdamW for the small models on a CPU, for a batch of 32."""

_base_ = ['./mvitv2_50e.py']

max_epochs = 10

# tokens and numbers are those that the figures of the small models were measured with
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(token_decay_mult=0.0))
precision = dict(amp='none')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)

train_cfg = dict(max_epochs=max_epochs)
