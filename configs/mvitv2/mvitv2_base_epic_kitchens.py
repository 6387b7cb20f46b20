"""Picture alone, MViTv2-B, EPIC-Kitchens-100.

    tools/dist_train.sh configs/mvitv2/mvitv2_base_epic_kitchens.py 8
    tools/dist_test.sh configs/mvitv2/mvitv2_base_epic_kitchens.py work_dirs/mvitv2_base_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 action 46.5 (paper, "Video Only", on the
validation split). Not yet run here.
"""

_base_ = ['../mmt/mmt_k4_l4_epic_kitchens.py']

model = dict(
    backbones=dict(audio=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('video',)))
val_dataloader = dict(dataset=dict(modalities=('video',)))
test_dataloader = dict(dataset=dict(modalities=('video',)))
