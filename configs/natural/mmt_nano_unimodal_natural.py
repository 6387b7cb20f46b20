"""The smallest MMT, each of whose encoders also learns to classify alone.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_unimodal_natural.py
Expected: top-1 0.880 ± 0.019 (measured here, 10 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
model = dict(auxiliary=dict(alone=dict(type='UnimodalHeads')))
