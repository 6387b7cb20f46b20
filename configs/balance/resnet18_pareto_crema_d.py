"""MMPareto on CREMA-D: gradients of the joint and the unimodal loss, joined without conflict.

gamma is that of GeWu-Lab/MMPareto_ICML2024, code/MMPareto.py.

Train: python tools/train.py configs/balance/resnet18_pareto_crema_d.py
Test: python tools/test.py configs/balance/resnet18_pareto_crema_d.py work_dirs/resnet18_pareto_crema_d/epoch_100.pth
Expected: not yet run here. Hardware: 1 GPU of 16 GB.
"""

_base_ = ['./resnet18_heads_crema_d.py']
custom_hooks = [dict(type='MMParetoHook', gamma=1.5)]
