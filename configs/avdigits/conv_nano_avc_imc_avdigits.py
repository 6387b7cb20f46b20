"""AVBottleneck with both contrastive losses ("+AVC+IMC", the full MMT).

Train: python tools/train.py configs/avdigits/conv_nano_avc_imc_avdigits.py --cache ram
Expected: top-1 0.818 ± 0.016 (measured here, 2 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avc_2views_avdigits.py', '../_base_/variants_nano.py']
model = _base_.pop('variants').avc_imc
