"""The small MMT on AVSynth, its MAT with pooling along time and frequency in every stage.

Train: python tools/train.py configs/mmt/mmt_tiny_2d_only_avsynth.py
Expected: top-1 0.424 ± 0.150 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').mat_2d_only
