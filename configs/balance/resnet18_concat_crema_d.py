"""What methods against modality imbalance start from on CREMA-D: two ResNet-18, one for frames, one for the sound.

Model, initial values, optimizer and schedule are those of OGM-GE without modulation (Peng et al. 2022,
GeWu-Lab/OGM-GE_CVPR2022, main.py and models/): from scratch, class features side by side, one linear layer, SGD with
momentum, lr 1e-3, a tenth of it from epoch 70, batches of 64, 100 epochs. Frames are BalanceBenchmark's: two, one from
each half, drawn in training and the middle one in testing (balancemm/datasets/cremad_dataset.py).

What differs: a log-mel spectrogram of 3 s (128 x 300) in place of a linear one of 257 x 188 of the clip repeated up to
3 s; both frames of a clip are cropped alike; and the last epoch is tested, where main.py keeps the one that is best on
the test list.

Train: python tools/train.py configs/balance/resnet18_concat_crema_d.py
Test: python tools/test.py configs/balance/resnet18_concat_crema_d.py work_dirs/resnet18_concat_crema_d/epoch_100.pth
Expected: not yet run here. Hardware: 1 GPU of 16 GB.
"""

_base_ = ['../_base_/datasets/crema_d.py', '../_base_/schedules/mvitv2_100e.py']

norm = dict(
    # ImageNet's, on 0 to 255
    video=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    audio=_base_.norm.audio,
)
model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor', norm=norm),
    backbones=dict(
        video=dict(
            type='TimmBackbone',
            model_name='resnet18',
            input_size=(2, 224, 224),
            model_args=dict(zero_init_last=False),
        ),
        audio=dict(
            type='TimmBackbone',
            model_name='resnet18',
            input_size=(128, 300),
            model_args=dict(zero_init_last=False),
        ),
    ),
    neck=dict(type='Concat'),
    head=dict(type='ClsHead', num_classes=_base_.num_classes),
)

log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=300)
__load = dict(type='LoadClip', num_frames=2, short_side=256, window=3.0)
train_pipeline = [
    dict(**__load, mode='random'),
    dict(type='RandomResizedCrop', size=224),
    dict(type='RandomFlip'),
    log_mel,
    dict(type='PackAVInputs'),
]
# the whole frame, squeezed into a square
val_pipeline = test_pipeline = [
    dict(**__load, mode='uniform'),
    dict(type='Resize', size=(224, 224)),
    log_mel,
    dict(type='PackAVInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
# BalanceBenchmark reports accuracy and macro F1 (balancemm/evaluation/precisions.py)
val_evaluator = test_evaluator = dict(macro_f1=True)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=1e-3, momentum=0.9, weight_decay=1e-4),
    # everything decays, and gradients are taken as they are
    paramwise_cfg=dict(_delete_=True),
    clip_grad=None,
)
param_scheduler = [dict(type='MultiStepLR', milestones=[70], gamma=0.1, by_epoch=True)]
