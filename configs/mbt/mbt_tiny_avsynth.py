"""A small MBT on AVSynth: two encoders at constant resolution, bottleneck updates averaged.

Train: python tools/train.py configs/mbt/mbt_tiny_avsynth.py
Expected: top-1 0.596 ± 0.076 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['../mmt/mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').mbt
