"""The smallest MMT with both contrastive losses ("+AVC+IMC", the full MMT).

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_avc_imc_natural.py
Expected: top-1 0.895 ± 0.005 (measured here, 5 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_avc_2views_natural.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').avc_imc
