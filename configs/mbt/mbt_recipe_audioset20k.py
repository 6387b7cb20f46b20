"""MBT (Nagrani et al. 2021) on AudioSet's balanced list (AS-20K, its "mini-AudioSet"), with its authors' recipe.

The values are those of google-research/scenic, projects/mbt/configs/audioset/balanced_audioset_base.py; docs/recipes.md
names each option.

Train: tools/dist_train.sh configs/mbt/mbt_recipe_audioset20k.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_audioset20k.py', '../_base_/variants.py']

max_epochs = 50

model = _base_.pop('variants').mbt
model.view_average = 'logits'
model.data_preprocessor.norm = dict(video=dict(mean=127.5, std=127.5))
model.backbones.video.input_size = (32, 224, 224)
model.backbones.audio.input_size = (128, 800)
# summed over the classes, as theirs: its size decides what a learning rate of 0.5 does under a clipped gradient
model.head.loss = dict(type='BCELoss', reduction='sum', label_smoothing=0.3)

# 32 frames at 12.5 a second, 8 s of audio
__load = dict(type='LoadClip', num_frames=32, frame_interval=0.08, short_side=256, window=8.0)
log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=800)
train_pipeline = [
    dict(**__load, mode='random'),
    dict(type='RandomResizedCrop', size=224, scale=(0.33, 0.71)),
    dict(type='RandomFlip'),
    dict(type='ColorJitter', brightness=0.125, contrast=0.4, saturation=0.4, hue=0.2),
    log_mel,
    dict(type='SpecAugment', freq_mask=48, time_mask=48),
    dict(type='SpecAugment', freq_mask=0, time_mask=48, num_masks=3),
    dict(type='PackAVInputs'),
]
val_pipeline = [dict(**__load, mode='uniform'), dict(type='CenterCrop', size=224), log_mel, dict(type='PackAVInputs')]
test_pipeline = [
    dict(**__load, mode='uniform', num_views=4),
    dict(type='CenterCrop', size=224),
    log_mel,
    dict(type='PackAVInputs'),
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True), dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=2.5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=2.5, end=max_epochs, convert_to_iter_based=True),
]
