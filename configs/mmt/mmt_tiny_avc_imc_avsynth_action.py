"""The small MMT with both contrastive losses on AVSynth with a verb and a noun; a category is a pair of both.

Train: python tools/train.py configs/mmt/mmt_tiny_avc_imc_avsynth_action.py
Expected: not yet run here. Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth_action.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').avc_imc
# the parent's steps with two views of the video, and, before SpecAugment, two of the audio
train_pipeline = [dict(**_base_.load, mode='random', num_views=2), *_base_.train_pipeline[1:]]
train_pipeline.insert(4, dict(type='AudioViews', num_views=2))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
