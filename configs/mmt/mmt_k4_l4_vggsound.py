"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound.

    tools/dist_train.sh configs/mmt/mmt_k4_l4_vggsound.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_l4_vggsound.py work_dirs/mmt_k4_l4_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each (17.2 GiB by tools/analysis_tools/plan_memory.py). Expected: top-1
63.3 (paper, "AVBottle", on 12,790 test clips). Not yet run here.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/vggsound.py', '../_base_/schedules/mvitv2_50e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
