"""AVBottleneck and heads of its encoders, whose gradients MMPareto joins.

Train: python tools/train.py configs/avdigits/conv_nano_mmpareto_avdigits.py --cache ram
Expected: not yet run here. Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_unimodal_heads_avdigits.py']
custom_hooks = [dict(type='MMParetoHook')]
