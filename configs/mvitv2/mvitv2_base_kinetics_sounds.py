r"""Picture alone, MViTv2-B, Kinetics-Sounds.

    tools/dist_train.sh configs/mvitv2/mvitv2_base_kinetics_sounds.py 8
    tools/dist_test.sh configs/mvitv2/mvitv2_base_kinetics_sounds.py \
        work_dirs/mvitv2_base_kinetics_sounds/epoch_300.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 91.6 (paper, "Video Only", on 1,585 test clips).
Not yet run here.
"""

_base_ = ['../mmt/mmt_k4_l4_kinetics_sounds.py']

model = dict(
    backbones=dict(audio=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('video',)))
val_dataloader = dict(dataset=dict(modalities=('video',)))
test_dataloader = dict(dataset=dict(modalities=('video',)))
