"""The small MMT with both contrastive losses ("+AVC+IMC", the full MMT) on AVSynth.

Train: python tools/train.py configs/mmt/mmt_tiny_avc_imc_avsynth.py
Expected: top-1 0.701 ± 0.356 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avc_2views_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').avc_imc
