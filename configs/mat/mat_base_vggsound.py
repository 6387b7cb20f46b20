"""Sound alone, MAT at paper size, VGGSound.

    tools/dist_train.sh configs/mat/mat_base_vggsound.py 8
    tools/dist_test.sh configs/mat/mat_base_vggsound.py work_dirs/mat_base_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 57.0 (paper, "MAT", on 12,790 test clips). Not yet
run here.
"""

_base_ = ['../mmt/mmt_k4_l4_vggsound.py']

model = dict(
    backbones=dict(video=None),
    neck=dict(_delete_=True, type='Avg'),
)
train_dataloader = dict(dataset=dict(modalities=('audio',)))
val_dataloader = dict(dataset=dict(modalities=('audio',)))
test_dataloader = dict(dataset=dict(modalities=('audio',)))
