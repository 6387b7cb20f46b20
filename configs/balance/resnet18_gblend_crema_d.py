"""Gradient-Blending on CREMA-D: weights of joint and unimodal losses, set every 10 epochs on held-out clips.

The super-epoch is BalanceBenchmark's (configs/trainer_config.yaml). It needs val.csv, which the split by actors has.

Train: python tools/train.py configs/balance/resnet18_gblend_crema_d.py
Test: python tools/test.py configs/balance/resnet18_gblend_crema_d.py work_dirs/resnet18_gblend_crema_d/epoch_100.pth
Expected: not yet run here. Hardware: 1 GPU of 16 GB.
"""

_base_ = ['./resnet18_heads_crema_d.py']
# weights are never chosen on the test list: the split by actors has a held-out list
val_dataloader = dict(dataset=dict(ann_file='val.csv'))
custom_hooks = [dict(type='GradientBlendingHook', interval=10)]
