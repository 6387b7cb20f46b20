"""MMT, K = 4 blocks, L = 4 bottleneck tokens, UCF101.

Split 1 unless the manifests are of another one; half of the classes have no sound. For the 51 that have, prepare with
``--with-sound classes`` and give the number of classes, see tools/data/ucf101/README.md. The schedule is chosen, not
measured.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_ucf101.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_ucf101.py work_dirs/mmt_k4_l4_ucf101/epoch_100.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/ucf101.py', '../_base_/schedules/mvitv2_100e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
