"""The small MMT with AVC on AVSynth, two views of each clip: what the rows with intra-modal losses are compared with.

Train: python tools/train.py configs/mmt/mmt_tiny_avc_2views_avsynth.py
Expected: top-1 0.526 ± 0.172 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avc_avsynth.py']
# the parent's steps with two views of the video, and, before SpecAugment, two of the audio
train_pipeline = [dict(**_base_.load, mode='random', num_views=2), *_base_.train_pipeline[1:]]
train_pipeline.insert(4, dict(type='AudioViews', num_views=2))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
