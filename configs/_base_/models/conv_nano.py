"""conv_small.py made cheap, with the fusion of MMT: 8 x 48 x 48 clips and 64 x 200 spectrograms, K = 2, L = 4.

A convolutional encoder has no class token of its own: AVBottleneck takes the maximum over its last map, and the places
of that map as patch tokens, 8 x 3 x 3 of a clip and 25 of a sound.
"""

model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor'),
    backbones=dict(
        video=dict(type='ConvEncoder', input_size=(8, 48, 48), widths=(16, 32, 48, 64)),
        audio=dict(
            type='ConvEncoder',
            input_size=(64, 200),
            in_channels=1,
            widths=(16, 32, 48, 64),
            strides=(2, 2, 2, (2, 1)),
        ),
    ),
    neck=dict(type='AVBottleneck', embed_dims=64, num_blocks=2, num_tokens=4, num_heads=4, init_std=0.08),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
)
