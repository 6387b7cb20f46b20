"""MMT, K = 4 blocks, L = 4 bottleneck tokens, AVE.

One label a clip, of 10 s; for the event alone: ``prepare_ave.py --events``. The schedule is chosen, not measured.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_ave.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_ave.py work_dirs/mmt_k4_l4_ave/epoch_100.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/ave.py', '../_base_/schedules/mvitv2_100e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
