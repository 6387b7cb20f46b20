"""AVBottleneck with a head of its own for each encoder, in training only.

Train: python tools/train.py configs/avdigits/conv_nano_unimodal_heads_avdigits.py --cache ram
Expected: top-1 0.830 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads')))
