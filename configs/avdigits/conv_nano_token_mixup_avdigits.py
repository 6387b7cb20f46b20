"""AVBottleneck with the tokens of two clips mixed before it (manifold mixup).

Train: python tools/train.py configs/avdigits/conv_nano_token_mixup_avdigits.py --cache ram
Expected: top-1 0.757 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py']
model = dict(token_mixup=dict(type='TokenMixup', alpha=0.1))
