"""MAT whose last stage, too, pools along time and frequency, down to 4 x 32 tokens, VGGSound.

    tools/dist_train.sh configs/mat/mat_2d_only_vggsound.py 8
    tools/dist_test.sh configs/mat/mat_2d_only_vggsound.py work_dirs/mat_2d_only_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: not yet run; the paper refers to its
supplement for stages.
"""

_base_ = ['./mat_base_vggsound.py']

model = dict(backbones=dict(audio=dict(q_strides=((2, 2), (2, 2), (2, 2)))))
