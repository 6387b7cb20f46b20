"""The small MMT without fusion blocks, one classifier on both class tokens, on AVSynth.

Train: python tools/train.py configs/mmt/mmt_tiny_concat_avsynth.py
Expected: top-1 0.672 ± 0.191 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').concat
