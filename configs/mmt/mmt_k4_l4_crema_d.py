"""MMT, K = 4 blocks, L = 4 bottleneck tokens, CREMA-D.

Spectrograms are half as long as elsewhere: clips last 1 to 5 s. Test clips are those of OGM-GE's list, or new speakers
with the lists that ``prepare_crema_d.py --split speakers`` writes. The schedule is chosen, not measured.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_crema_d.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_crema_d.py work_dirs/mmt_k4_l4_crema_d/epoch_100.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/crema_d.py', '../_base_/schedules/mvitv2_100e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    backbones=dict(audio=dict(input_size=(128, 512))),
    head=dict(num_classes=_base_.num_classes),
)
