"""The small MMT with AVC on AVSynth, two views of each clip: what the rows with intra-modal losses are compared with.

    python tools/train.py configs/mmt/mmt_tiny_avc_2views_avsynth.py
    python tools/test.py configs/mmt/mmt_tiny_avc_2views_avsynth.py work_dirs/mmt_tiny_avc_2views_avsynth/epoch_10.pth

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avc_avsynth.py']

# the parent's steps with two views of the picture, and, before SpecAugment, two of the sound
train_pipeline = [
    dict(**_base_.load, mode='random', num_views=2),
    *_base_.train_pipeline[1:4],
    dict(type='AudioViews', num_views=2),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
