"""MMT, K = 4 blocks, L = 4 bottleneck tokens, solos and duets of MUSIC-21: one or two labels a clip.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_music21_duet.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_music21_duet.py work_dirs/mmt_k4_l4_music21_duet/epoch_100.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_music21.py']

data_root = 'data/music21_duet'
__dataset = dict(data_root=data_root, multi_label=True)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=__dataset)
val_evaluator = test_evaluator = dict(_delete_=True, type='MultiLabelMetric')
# not cut: the half of a picture may lack one of its instruments
model = dict(
    data_preprocessor=dict(batch_augment=dict(mixup_alpha=0.5, cutmix_alpha=0.0)),
    head=dict(_delete_=True, type='MultiLabelHead', num_classes=_base_.num_classes, dropout=0.5),
)
