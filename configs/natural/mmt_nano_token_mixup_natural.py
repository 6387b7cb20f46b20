"""The smallest MMT with the tokens of two clips mixed before their fusion (manifold mixup).

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_token_mixup_natural.py
Expected: top-1 0.859 ± 0.019 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
model = dict(token_mixup=dict(type='TokenMixup', alpha=0.1))
