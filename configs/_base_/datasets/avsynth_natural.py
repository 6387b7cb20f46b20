"""AVSynth's task `natural`: 2 s clips of 32 classes, 48 % of them with the class in one modality only.

``python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural`` writes it.
"""

data_root = 'data/avsynth_natural'
num_classes = 32

# measured on the training split, python tools/data/audio_stats.py configs/natural/mmt_nano_natural.py; likewise video
norm = dict(
    video=dict(mean=86.0, std=48.0),
    audio=dict(mean=-3.4, std=3.9),
)

# The frames and the spectrogram of a clip are always the same: they can be kept, and only what is drawn is done again.
load = dict(type='LoadClip', num_frames=8, mode='uniform')
log_mel = dict(type='LogMel', num_mel_bins=64, target_frames=64, frame_shift_ms=31.0)
augment = [
    dict(type='RandomResizedCrop', size=32, scale=(0.7, 1.0), ratio=(0.9, 1.1)),
    dict(type='RandomFlip'),
    dict(type='SpecAugment', freq_mask=4, time_mask=8),
]

train_pipeline = [load, log_mel, *augment, dict(type='PackAVInputs')]
# two views of a clip: other frames and other crops, and other masks in its spectrogram
two_views_pipeline = [
    dict(**load, num_views=2),
    log_mel,
    dict(type='AudioViews', num_views=2),
    *augment,
    dict(type='PackAVInputs'),
]
test_pipeline = [load, log_mel, dict(type='CenterCrop', size=32), dict(type='PackAVInputs')]

loader = dict(num_workers=0, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=64,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
val_dataloader = dict(
    **loader,
    batch_size=64,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='val.csv', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = dict(
    **loader,
    batch_size=64,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
