"""The small MMT on AVSynth, its MAT with one scale, as many tokens as MAT's second stage.

Train: python tools/train.py configs/mmt/mmt_tiny_single_scale_avsynth.py
Expected: top-1 0.578 ± 0.264 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').mat_single_scale
