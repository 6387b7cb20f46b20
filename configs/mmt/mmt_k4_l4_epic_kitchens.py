"""MMT, K = 4 blocks, L = 4 bottleneck tokens, EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_epic_kitchens.py 8
Expected: top-1 action 46.9 (paper, Table 4, AVBottle); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/epic_kitchens.py', '../_base_/schedules/mvitv2_100e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(type='VerbNounHead', num_verbs=_base_.num_classes.verb, num_nouns=_base_.num_classes.noun),
)
