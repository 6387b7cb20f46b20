"""The smallest MMT with three blocks at constant resolution in place of MAT.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_no_mat_natural.py
Expected: top-1 0.857 ± 0.006 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').no_mat
