"""50 epochs of MViTv2-B's recipe (facebookresearch/SlowFast, configs/Kinetics/MVITv2_B_32x3.yaml) for a batch of 64.

AdamW, lr 1e-4, cosine to 1e-6, weight decay 0.05 but on vectors (biases, norms), gradients clipped at 1. The recipe
warms up for 30 of its 200 epochs; here for the same share. A table of it stands in docs/training.md.
"""

_base_ = ['../default_runtime.py']

max_epochs = 50

# The recipe decays class tokens and positions (MVIT.ZERO_DECAY_POS_CLS is False), and this schedule with it. One that
# does not, as is the habit of plain ViTs, says paramwise_cfg=dict(token_decay_mult=0.0).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=7, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=7, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=64)

train_cfg = dict(type='AVTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='AVValLoop')
test_cfg = dict(type='AVTestLoop')
