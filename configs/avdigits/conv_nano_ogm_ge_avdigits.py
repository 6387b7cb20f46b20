"""AVBottleneck with OGM-GE: the gradients of the encoder that is ahead are made smaller, and noise is added.

Train: python tools/train.py configs/avdigits/conv_nano_ogm_ge_avdigits.py --cache ram
Expected: top-1 0.743 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads', detach=True)))
custom_hooks = [dict(type='OGMGEHook', alpha=0.3)]
