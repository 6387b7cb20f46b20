"""Two ResNet-18 on CREMA-D, each of which also learns to classify alone: what MMPareto is compared with.

The three losses are summed, as in GeWu-Lab/MMPareto_ICML2024, code/uniform_baseline.py. What differs from the
schedule there (50 epochs, lr 2e-3) is in resnet18_concat_crema_d.py.

Train: python tools/train.py configs/balance/resnet18_heads_crema_d.py
Test: python tools/test.py configs/balance/resnet18_heads_crema_d.py work_dirs/resnet18_heads_crema_d/epoch_100.pth
Expected: not yet run here. Hardware: 1 GPU of 16 GB.
"""

_base_ = ['./resnet18_concat_crema_d.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads')))
