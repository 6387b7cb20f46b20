"""MMT, K = 4 blocks, L = 4 bottleneck tokens, Kinetics-Sounds.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_kinetics_sounds.py 8
Expected: top-1 91.2 (paper, Table 3, AVBottle); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/kinetics_sounds.py', '../_base_/schedules/mvitv2_300e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
