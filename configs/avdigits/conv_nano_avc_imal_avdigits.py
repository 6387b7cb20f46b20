"""AVBottleneck with AVC and the intra-modal alignment loss ("+AVC+IM-AL").

Train: python tools/train.py configs/avdigits/conv_nano_avc_imal_avdigits.py --cache ram
Expected: top-1 0.803 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avc_2views_avdigits.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').avc_imal
