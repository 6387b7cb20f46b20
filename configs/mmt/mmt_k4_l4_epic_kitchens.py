"""MMT, K = 4 blocks, L = 4 bottleneck tokens, EPIC-Kitchens-100.

    tools/dist_train.sh configs/mmt/mmt_k4_l4_epic_kitchens.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_l4_epic_kitchens.py work_dirs/mmt_k4_l4_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 action 46.9 (paper, "AVBottle", on the validation
split). Not yet run here.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/epic_kitchens.py', '../_base_/schedules/mvitv2_100e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=_base_.num_classes.verb,
        num_nouns=_base_.num_classes.noun,
        dropout=0.5,
        loss=dict(type='CrossEntropyLoss', label_smoothing=0.1),
    ),
)
