"""AVSynth, the embedded dataset: 2 s clips whose class is a pair of a visual and a sound event.

``python tools/data/avsynth/make_avsynth.py data/avsynth`` writes it.
"""

data_root = 'data/avsynth'
num_classes = 16

# Video: MViTv2's recipe, on 0 to 255. Audio: measured on the training split,
# python tools/data/audio_stats.py configs/mmt/mmt_tiny_avsynth.py
norm = dict(
    video=dict(mean=0.45 * 255, std=0.225 * 255),
    audio=dict(mean=-4.69, std=3.15),
)

# 8 frames over the whole clip, 4 a second: the fastest event repeats once a second
load = dict(type='LoadClip', num_frames=8, short_side=72)
log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=192)

train_pipeline = [
    dict(**load, mode='random'),
    # cropping harder would cut the motion out of the frame
    dict(type='RandomResizedCrop', size=64, scale=(0.7, 1.0), ratio=(0.9, 1.1)),
    dict(type='RandomFlip'),
    log_mel,
    dict(type='SpecAugment', freq_mask=12, time_mask=16),
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(**load, mode='uniform'),
    dict(type='CenterCrop', size=64),
    log_mel,
    dict(type='PackAVInputs'),
]

loader = dict(num_workers=2, persistent_workers=True, pin_memory=True, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=32,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
val_dataloader = dict(
    **loader,
    batch_size=40,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='val.csv', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = dict(
    **loader,
    batch_size=40,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
