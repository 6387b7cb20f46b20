"""AVBottleneck and heads of its encoders, weighed by Gradient-Blending, on README.md's held-out clips.

Train: python tools/train.py configs/avdigits/conv_nano_gblend_avdigits.py --cache ram
Expected: top-1 0.813 (measured here, 1 seed). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_unimodal_heads_avdigits.py']
custom_hooks = [dict(type='GradientBlendingHook', weights=dict(fused=0.25, video=0.34, audio=0.41))]
