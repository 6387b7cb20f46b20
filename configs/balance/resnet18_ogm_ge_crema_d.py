"""OGM-GE on CREMA-D: the encoder that is ahead learns more slowly, with noise, in the first 51 of 100 epochs.

alpha is what GeWu-Lab/OGM-GE_CVPR2022 recommends for CREMA-D (README.md), the epochs are the defaults of its main.py.
What differs from that code is in resnet18_concat_crema_d.py.

Train: python tools/train.py configs/balance/resnet18_ogm_ge_crema_d.py
Test: python tools/test.py configs/balance/resnet18_ogm_ge_crema_d.py work_dirs/resnet18_ogm_ge_crema_d/epoch_100.pth
Expected: not yet run here. Hardware: 1 GPU of 16 GB.
"""

_base_ = ['./resnet18_concat_crema_d.py']
custom_hooks = [dict(type='OGMGEHook', alpha=0.8, end=51)]
