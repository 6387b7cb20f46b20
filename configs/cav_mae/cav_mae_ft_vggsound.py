"""CAV-MAE's encoders (Gong et al. 2023), pretrained on AudioSet, fine-tuned on VGGSound with its authors' recipe.

The values are those of YuanGongND/cav-mae, egs/vggsound/run_cavmae_ft.sh; docs/recipes.md names each option.

Train: tools/dist_train.sh configs/cav_mae/cav_mae_ft_vggsound.py 4
Test: tools/dist_test.sh configs/cav_mae/cav_mae_ft_vggsound.py work_dirs/cav_mae_ft_vggsound/averaged_epoch_3-10.pth 4
Expected: top-1 65.8 (paper, its log, egs/vggsound/training_logs); not yet run here. Hardware: 4 GPUs of 40 GB.
"""

_base_ = ['../_base_/datasets/vggsound.py', '../_base_/default_runtime.py']

max_epochs = 10

# 11 blocks of its own and the joint one, each encoder a stream: docs/weights.md#cav-mae
__plain = dict(cls_token=False, norm_eps=1e-5, init_cfg=dict(type='PublicWeights', checkpoint='cav_mae_scale++'))
model = dict(
    type='AVClassifier',
    data_preprocessor=dict(
        type='AVDataPreprocessor',
        norm=dict(audio=_base_.norm.audio, video=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))),
        # half of the batches, both modalities alike
        batch_augment=dict(
            type='MixupCutmix', num_classes=_base_.num_classes, mixup_alpha=10.0, cutmix_alpha=0.0, prob=0.5
        ),
    ),
    backbones=dict(
        video=dict(
            type='PerFrame',
            frames=1,
            backbone=dict(type='ViT', input_size=(224, 224), patch_kernel=(16, 16), **__plain),
        ),
        audio=dict(type='AST', input_size=(128, 1024), patch_stride=(16, 16), dist_token=False, **__plain),
    ),
    neck=dict(type='Concat'),
    head=dict(
        type='ClsHead',
        num_classes=_base_.num_classes,
        dropout=0.0,
        loss=dict(type='CrossEntropyLoss', label_smoothing=0.1),
    ),
)

# one frame a clip, as it is: any in training, ten, each a view, in testing
__load = dict(type='LoadClip', num_frames=1, short_side=224, window=10.24)
__crop = dict(type='CenterCrop', size=224)
train_pipeline = [
    dict(**__load, mode='random'),
    __crop,
    _base_.log_mel,
    dict(type='SpecAugment', freq_mask=48, time_mask=192),
    dict(type='PackAVInputs'),
]
val_pipeline = [dict(**__load, mode='uniform'), __crop, _base_.log_mel, dict(type='PackAVInputs')]
test_pipeline = [dict(**__load, mode='uniform', num_views=10), __crop, _base_.log_mel, dict(type='PackAVInputs')]
train_dataloader = dict(
    batch_size=12,
    sampler=dict(_delete_=True, type='ClassBalancedSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=12, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7, fused=True),
    paramwise_cfg=dict(head_lr_mult=10),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[2, 3, 4, 5, 6, 7, 8, 9], gamma=0.5)]
auto_scale_lr = dict(base_batch_size=48)
train_cfg = dict(type='AVTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='AVValLoop')
test_cfg = dict(type='AVTestLoop')
custom_hooks = [dict(type='CheckpointAveragingHook', begin=3, end=10)]
