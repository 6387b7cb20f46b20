"""The smallest MMT without fusion, the two encoders' probabilities averaged.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_avg_natural.py
Expected: top-1 0.793 ± 0.008 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').avg
