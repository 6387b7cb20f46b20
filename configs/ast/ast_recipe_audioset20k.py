"""Audio alone, AST (Gong et al. 2021) on AudioSet's balanced list (AS-20K), with its authors' recipe.

The values are those of YuanGongND/ast, egs/audioset/run.sh, ``set=balanced``; docs/recipes.md names each option.

Train: tools/dist_train.sh configs/ast/ast_recipe_audioset20k.py 4
Expected: not yet run here. Hardware: 4 GPUs of 40 GB.
"""

_base_ = ['./ast_base_audioset20k.py']

max_epochs = 25

# half of the batches
model = dict(data_preprocessor=dict(batch_augment=dict(mixup_alpha=10.0, prob=0.5)))

train_pipeline = [
    dict(type='LoadClip', mode='random', window=10.24),
    _base_.log_mel,
    dict(type='SpecAugment', freq_mask=48, time_mask=192),
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(type='LoadClip', mode='uniform', window=10.24),
    _base_.log_mel,
    dict(type='PackAVInputs'),
]
train_dataloader = dict(
    batch_size=3,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=6, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=6, dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=5e-5, betas=(0.95, 0.999), weight_decay=5e-7, fused=True),
)
__warm_up = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000)
param_scheduler = [__warm_up, dict(type='MultiStepLR', milestones=[10, 15, 20], gamma=0.5)]
auto_scale_lr = dict(base_batch_size=12)
train_cfg = dict(max_epochs=max_epochs)
custom_hooks = [dict(type='CheckpointAveragingHook', begin=6, end=25)]
