"""A small MMT of the same parts for a CPU: 8 x 64 x 64 clips, 128 x 192 spectrograms, patches of 8, K = 2, L = 4."""

arch = dict(embed_dims=32, num_layers=4, num_heads=1, stage_blocks=(1, 3))
# 0.02, the usual value, is for widths of hundreds: with it these encoders learn many times more slowly
init_std = 0.08

model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor'),
    backbones=dict(
        video=dict(
            type='MViTv2',
            arch=arch,
            input_size=(8, 64, 64),
            patch_stride=(2, 8, 8),
            kv_stride=(1, 2, 2),
            init_std=init_std,
        ),
        audio=dict(
            type='MAT',
            arch=arch,
            input_size=(128, 192),
            patch_stride=(8, 8),
            # the last stage pools time only, as in the paper's Table 1
            q_strides=((2, 2), (1, 2)),
            init_std=init_std,
        ),
    ),
    neck=dict(type='AVBottleneck', embed_dims=128, num_blocks=2, num_tokens=4, num_heads=4, update='sequential'),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
)
