"""MMT, K = 4 blocks, L = 4 bottleneck tokens, several labels a clip, AudioSet's balanced list (AS-20K).

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_audioset20k.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_audioset20k.py work_dirs/mmt_k4_l4_audioset20k/epoch_50.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/audioset20k.py', '../_base_/schedules/mvitv2_50e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=_base_.batch_augment),
    head=dict(_delete_=True, type='MultiLabelHead', num_classes=_base_.num_classes, dropout=0.5),
)
