"""AVBottleneck with AVC, two views of each clip: what the rows with intra-modal losses are compared with.

Train: python tools/train.py configs/avdigits/conv_nano_avc_2views_avdigits.py --cache ram
Expected: top-1 0.817 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avc_avdigits.py']
train_dataloader = dict(dataset=dict(pipeline=_base_.two_views_pipeline))
