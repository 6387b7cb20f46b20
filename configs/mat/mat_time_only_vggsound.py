"""MAT that pools along time only: as many tokens in every stage as MAT has, all 32 frequencies kept, VGGSound.

    tools/dist_train.sh configs/mat/mat_time_only_vggsound.py 8
    tools/dist_test.sh configs/mat/mat_time_only_vggsound.py work_dirs/mat_time_only_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: not yet run; the paper refers to its
supplement for stages.
"""

_base_ = ['./mat_base_vggsound.py']

# 32 x 256, 32 x 64, 32 x 16, 32 x 8 tokens; the kernel of 5 leaves out no frame at stride 4. Public weights have none
# of that size: strict=False takes all else from them and draws the pooling kernels
model = dict(
    backbones=dict(
        audio=dict(
            q_strides=((1, 4), (1, 4), (1, 2)), kv_stride=(1, 4), pool_kernel=(3, 5), init_cfg=dict(strict=False)
        )
    )
)
