"""AVBottleneck and heads of its encoders, whose gradients MMPareto joins.

Train: python tools/train.py configs/avdigits/conv_nano_mmpareto_avdigits.py --cache ram
Expected: top-1 0.810 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_unimodal_heads_avdigits.py']
custom_hooks = [dict(type='MMParetoHook')]
