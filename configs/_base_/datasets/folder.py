"""A folder of one's own clips: ``train.csv`` and ``test.csv`` (columns path,label), ``classes.txt`` (one name a line).

The class list decides the number of classes. Clips may have any length, size, frame rate and sample rate, with or
without audio. Of a clip longer than 5 s a random (in testing: the middle) stretch of 5 s is taken.
"""

data_root = 'data/my_clips'
num_classes = 'auto'

# Video: MViTv2's recipe, on 0 to 255. Audio: AudioSet's log-mels, divided by twice the standard deviation
# (YuanGongND/ast, src/dataloader.py): ordinary sounds at ordinary levels
norm = dict(
    video=dict(mean=0.45 * 255, std=0.225 * 255),
    audio=dict(mean=-4.2677393, std=2 * 4.5689974),
)

load = dict(type='LoadClip', num_frames=8, short_side=112, window=5.0)
log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=512)

train_pipeline = [
    dict(**load, mode='random'),
    dict(type='RandomResizedCrop', size=96, scale=(0.4, 1.0)),
    dict(type='RandomFlip'),
    dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2),
    log_mel,
    dict(type='SpecAugment', freq_mask=24, time_mask=48),
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(**load, mode='uniform'),
    dict(type='CenterCrop', size=96),
    log_mel,
    dict(type='PackAVInputs'),
]

loader = dict(num_workers=2, persistent_workers=True, pin_memory=True, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
test_dataloader = dict(
    **loader,
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
# a folder has no third list: what is reported after each epoch is measured on the test list
val_dataloader = test_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
