"""Two small convolutional encoders, fused late: what learns from a few thousand clips without pretraining, on a CPU.

A clip is read as 8 frames of 64 x 64, a spectrogram as 64 mel bins of any length. Each encoder has its own loss, and
the predictions are averaged.
"""

model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor', trim=dict(audio=50)),
    backbones=dict(
        video=dict(type='ConvEncoder', input_size=(8, 64, 64), widths=(24, 48, 96, 192)),
        audio=dict(
            type='ConvEncoder',
            input_size=(64, 500),
            in_channels=1,
            widths=(32, 64, 128, 256),
            strides=(2, 2, 2, (2, 1)),
        ),
    ),
    neck=dict(type='Avg'),
    # the encoders know different things of a clip: what one rules out, the other cannot bring back
    head=dict(type='ClsHead', average='geometric', loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
)
