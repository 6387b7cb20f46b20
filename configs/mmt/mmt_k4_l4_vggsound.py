"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_vggsound.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_vggsound.py work_dirs/mmt_k4_l4_vggsound/epoch_50.pth 8
Expected: top-1 63.3 (paper, Table 3, AVBottle); not yet run here. Hardware: 8 GPUs of 40 GB (17.2 GiB by
plan_memory.py).
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/vggsound.py', '../_base_/schedules/mvitv2_50e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
