"""CREMA-D (Cao et al. 2014): clips of 1 to 5 s of 91 actors who say a sentence in one of six emotions.

Expects in ``data_root``: ``train.csv`` and ``test.csv`` (columns path,label, or video,audio,label), ``classes.txt``,
and the clips. With the split by actors there is ``val.csv``, too: ``val_dataloader.dataset.ann_file=val.csv``.
"""

_base_ = ['./vggsound.py']

data_root = 'data/crema_d'
num_classes = 6

# A clip lasts 2.5 s on average: 16 frames over the whole of it, and its audio, padded to 5.12 s. The audio's statistics
# are VGGSound's: we know of none of CREMA-D, they are not yet measured. Yours:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_crema_d.py
load = dict(type='LoadClip', num_frames=16, short_side=256, window=5.12)
log_mel = dict(type='LogMel', num_mel_bins=128, target_frames=512)
train_pipeline = [
    dict(**load, mode='random', num_views=2, same_window=True),
    *_base_.train_pipeline[1:5],
    log_mel,
    dict(type='AudioViews', num_views=2),
    dict(type='SpecAugment', freq_mask=48, time_mask=96),
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

# the lists of OGM-GE have no validation part: what is reported after each epoch is measured on the test list
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(topk=(1,))
