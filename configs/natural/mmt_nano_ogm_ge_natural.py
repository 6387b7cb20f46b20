"""The smallest MMT with OGM-GE: the encoder that is ahead learns more slowly.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_ogm_ge_natural.py
Expected: top-1 0.856 ± 0.020 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
# the bottleneck mixes the modalities: heads that only measure say what each alone gives
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads', detach=True)))
custom_hooks = [dict(type='OGMGEHook', alpha=0.3)]
