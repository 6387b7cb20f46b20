"""avdigits: 2 s clips of a handwritten digit that is spoken, 2,000 for training and 300 for testing, in ten classes.

A folder with ``train.csv`` and ``test.csv`` (columns path,label) and ``classes.txt``, as in
configs/_base_/datasets/folder_small.py, whose augmentations these are; the clips are shorter and read smaller.
"""

data_root = 'data/avdigits'
num_classes = 10

# Video: MViTv2's recipe, on 0 to 255. Audio is normalised clip by clip.
norm = dict(video=dict(mean=0.45 * 255, std=0.225 * 255))

load = dict(type='LoadClip', num_frames=8)
log_mel = dict(type='LogMel', num_mel_bins=64, target_frames=200, per_clip=True)

# nothing that could change what a digit is: no flip, no hard crop
frames = [
    dict(type='RandomResizedCrop', size=48, scale=(0.6, 1.0)),
    dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2),
]
sound = [
    dict(type='WaveAugment', speed=0.1, shift=0.2),
    log_mel,
    dict(type='SpecAugment', freq_mask=8, time_mask=30, num_masks=2),
]
train_pipeline = [dict(**load, mode='random', short_side=54), *frames, *sound, dict(type='PackAVInputs')]
# two views of a clip: other frames, crops and colours; the sound shifted, stretched and masked in another way
two_views_pipeline = [
    dict(**load, mode='random', short_side=54, num_views=2),
    *frames,
    dict(type='AudioViews', num_views=2),
    *sound,
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(**load, mode='uniform', short_side=48),
    dict(type='CenterCrop', size=48),
    log_mel,
    dict(type='PackAVInputs'),
]

loader = dict(num_workers=0, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=32,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
test_dataloader = dict(
    **loader,
    batch_size=50,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
# there is no third list, and nothing is chosen by this one: the schedule validates at the end alone
val_dataloader = test_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
