"""MViTv2-B and MAT without fusion blocks, one classifier on both class tokens, VGGSound.

    tools/dist_train.sh configs/mmt/mmt_concat_vggsound.py 8
    tools/dist_test.sh configs/mmt/mmt_concat_vggsound.py work_dirs/mmt_concat_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: not yet run; the paper has no such row.
"""

_base_ = ['./mmt_k4_l4_vggsound.py']

model = dict(neck=dict(_delete_=True, type='Concat'))
