"""The smallest MMT whose encoders leave out tokens in training: half of the frames, a quarter of the sound.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_token_drop_natural.py
Expected: top-1 0.828 ± 0.021 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').token_drop
