"""The smallest MMT with AVC, two views of each clip: what the rows with intra-modal losses are compared with.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_avc_2views_natural.py
Expected: top-1 0.893 ± 0.005 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_avc_natural.py']
train_dataloader = dict(dataset=dict(pipeline=_base_.two_views_pipeline))
