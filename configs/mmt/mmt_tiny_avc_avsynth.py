"""The small MMT with the audio-video contrastive loss ("+AVC") on AVSynth.

Train: python tools/train.py configs/mmt/mmt_tiny_avc_avsynth.py
Expected: top-1 0.453 ± 0.180 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['./mmt_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').avc
