"""MMT, K = 4 blocks, L = 4 bottleneck tokens, segments of long videos (HowTo100M, ActivityNet and the like).

The schedule is chosen, not measured. For segments with several labels see docs/multi_label.md.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_segments.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_segments.py work_dirs/mmt_k4_l4_segments/epoch_50.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/segments.py', '../_base_/schedules/mvitv2_50e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
