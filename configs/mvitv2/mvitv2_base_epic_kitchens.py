"""Video alone, MViTv2-B, EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mvitv2/mvitv2_base_epic_kitchens.py 8
Expected: top-1 action 46.5 (paper, Table 4, Video Only); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
