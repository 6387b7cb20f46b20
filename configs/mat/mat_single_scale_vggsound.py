"""MAT's blocks at one scale: 24 blocks on 8 x 64 tokens of 384, those of MAT's third stage, VGGSound.

    tools/dist_train.sh configs/mat/mat_single_scale_vggsound.py 8
    tools/dist_test.sh configs/mat/mat_single_scale_vggsound.py work_dirs/mat_single_scale_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: not yet run; the paper refers to its
supplement for stages.
"""

_base_ = ['./mat_base_vggsound.py']

model = dict(
    backbones=dict(
        audio=dict(
            arch=dict(_delete_=True, embed_dims=384, num_layers=24, num_heads=4, stage_blocks=()),
            patch_kernel=(15, 15),
            patch_stride=(16, 16),
            q_strides=(),
            kv_stride=(1, 1),
            # from scratch: nobody publishes weights of this width throughout
            init_cfg=None,
        )
    )
)
