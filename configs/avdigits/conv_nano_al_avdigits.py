"""AVBottleneck with the alignment loss ("+AL"): only audio and video of the same clip match.

Train: python tools/train.py configs/avdigits/conv_nano_al_avdigits.py --cache ram
Expected: top-1 0.783 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').al
