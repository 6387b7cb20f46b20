"""A folder of one's own clips for small encoders: ``train.csv`` and ``test.csv`` (columns path,label), ``classes.txt``.

The class list decides the number of classes. Clips may have any length, size, frame rate and sample rate, with or
without audio. Of a clip longer than ``window`` a random (in testing: the middle) stretch is taken.
"""

data_root = 'data/my_clips'
num_classes = 'auto'

window = 5.0  # seconds of a clip, at most
target_frames = 500  # columns of its spectrogram, 100 a second
num_frames = 8
side = 64  # pixels
num_mel_bins = 64

# Video: MViTv2's recipe, on 0 to 255. Audio is normalised clip by clip.
norm = dict(video=dict(mean=0.45 * 255, std=0.225 * 255))

load = dict(type='LoadClip', num_frames=num_frames, window=window)
log_mel = dict(type='LogMel', num_mel_bins=num_mel_bins, target_frames=target_frames, per_clip=True)

# nothing that could change what a clip is: no flip (of a digit, or a movement to the left), no hard crop. Where left
# and right do not matter, add dict(type='RandomFlip') behind the crop.
train_pipeline = [
    dict(**load, mode='random', short_side=side * 9 // 8),
    dict(type='RandomResizedCrop', size=side, scale=(0.6, 1.0)),
    dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2),
    dict(type='WaveAugment', speed=0.1, shift=0.2),
    log_mel,
    dict(type='SpecAugment', freq_mask=8, time_mask=30, num_masks=2, skip_padding=True),
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(**load, mode='uniform', short_side=side),
    dict(type='CenterCrop', size=side),
    log_mel,
    dict(type='PackAVInputs'),
]

loader = dict(num_workers=2, persistent_workers=True, pin_memory=True, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=16,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
test_dataloader = dict(
    **loader,
    batch_size=32,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
# a folder has no third list: what is reported after each epoch is measured on the test list
val_dataloader = test_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
