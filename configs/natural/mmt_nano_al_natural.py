"""The smallest MMT with the alignment loss ("+AL"): only audio and video of the same clip match.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_al_natural.py
Expected: top-1 0.873 ± 0.015 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').al
