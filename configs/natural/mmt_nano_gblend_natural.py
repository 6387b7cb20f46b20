"""The smallest MMT with Gradient-Blending: weights of joint and unimodal losses, set every 4 epochs on held-out clips.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_gblend_natural.py
Expected: top-1 0.870 ± 0.024 (measured here, 10 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads')))
custom_hooks = [dict(type='GradientBlendingHook', interval=4)]
