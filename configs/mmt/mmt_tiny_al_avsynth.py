"""The small MMT with the alignment loss ("+AL") on AVSynth: only audio and video of the same clip match.

Train: python tools/train.py configs/mmt/mmt_tiny_al_avsynth.py
Expected: top-1 0.460 ± 0.165 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').al
