"""Sound alone, MAT at paper size, EPIC-Kitchens-100.

    tools/dist_train.sh configs/mat/mat_base_epic_kitchens.py 8
    tools/dist_test.sh configs/mat/mat_base_epic_kitchens.py work_dirs/mat_base_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 action 17.4 (paper, "MAT", on the validation
split). Not yet run here.
"""

_base_ = ['../mmt/mmt_k4_l4_epic_kitchens.py']

model = dict(
    backbones=dict(video=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('audio',)))
val_dataloader = dict(dataset=dict(modalities=('audio',)))
test_dataloader = dict(dataset=dict(modalities=('audio',)))
