"""The smallest MMT of the same parts, for one core of a CPU: 8 x 32 x 32 clips, 64 x 64 spectrograms, K = 2."""

arch = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
# 0.02, the usual value, is for widths of hundreds: with it these encoders learn many times more slowly
init_std = 0.1

model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor'),
    backbones=dict(
        video=dict(
            type='MViTv2',
            arch=arch,
            input_size=(8, 32, 32),
            # 2 x 4 x 4 tokens
            patch_stride=(4, 8, 8),
            kv_stride=(1, 2, 2),
            init_std=init_std,
        ),
        audio=dict(
            type='MAT',
            arch=arch,
            input_size=(64, 64),
            # 4 x 16 tokens: what sounds of one pitch differ in is quick, and pitch can be told within a patch
            patch_kernel=(15, 7),
            patch_stride=(16, 4),
            # the last stage pools time only, as in the paper's Table 1
            q_strides=((2, 2), (1, 2)),
            kv_stride=(1, 2),
            init_std=init_std,
        ),
    ),
    neck=dict(type='AVBottleneck', embed_dims=64, num_blocks=2, num_tokens=4, num_heads=2, update='sequential'),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
)
