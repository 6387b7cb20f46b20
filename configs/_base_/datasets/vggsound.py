"""VGGSound (Chen et al. 2020): 10 s clips, one of 309 labels each; 16 frames, 128 x 1024 log-mels, 5 test views.

Expects in ``data_root``: ``train.csv`` and ``test.csv`` (columns path,label), ``classes.txt``, and the clips.
"""

data_root = 'data/vggsound'
num_classes = 309

# Video: MViTv2's recipe, on 0 to 255. Audio: statistics of VGGSound's log-mels as used by CAV-MAE (Gong et al. 2023,
# YuanGongND/cav-mae, egs/vggsound), which divides by the standard deviation once; of your copy of the clips:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_vggsound.py
norm = dict(
    video=dict(mean=0.45 * 255, std=0.225 * 255),
    audio=dict(mean=-5.081, std=4.4849),
)

# 16 frames 4/30 s apart span 2.1 s of the video; the audio is that of the whole clip
load = dict(type='LoadClip', num_frames=16, frame_interval=4 / 30, short_side=256, window=10.24)
log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=1024)

train_pipeline = [
    # MViTv2's repeated augmentation: two views of the same 16 frames, decoded once, and of the same audio
    # (facebookresearch/SlowFast, slowfast/datasets/kinetics.py, AUG.NUM_SAMPLE)
    dict(**load, mode='random', num_views=2, same_window=True),
    dict(type='RandomResizedCrop', size=224),
    dict(type='RandomFlip'),
    dict(type='RandAugment', magnitude=7, num_ops=4, mstd=0.5, increasing=True),
    dict(type='RandomErasing', p=0.25),
    log_mel,
    dict(type='AudioViews', num_views=2),
    dict(type='SpecAugment', freq_mask=48, time_mask=192),
    dict(type='PackAVInputs'),
]
val_pipeline = [
    dict(**load, mode='uniform'),
    dict(type='CenterCrop', size=224),
    log_mel,
    dict(type='PackAVInputs'),
]
test_pipeline = [
    dict(**load, mode='uniform', num_views=5),
    dict(type='CenterCrop', size=224),
    log_mel,
    dict(type='PackAVInputs'),
]

loader = dict(num_workers=8, persistent_workers=True, pin_memory=True, collate_fn=dict(type='av_collate'))
dataset = dict(type='AVDataset', data_root=data_root, classes='classes.txt')

train_dataloader = dict(
    **loader,
    batch_size=8,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.csv', pipeline=train_pipeline),
)
# no third list is published: what is reported after each epoch is measured on the test list, one view a clip
val_dataloader = dict(
    **loader,
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=val_pipeline, test_mode=True),
)
test_dataloader = dict(
    **loader,
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.csv', pipeline=test_pipeline, test_mode=True),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
