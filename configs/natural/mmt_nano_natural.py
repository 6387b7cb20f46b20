"""The smallest MMT, encoders and AVBottleneck without contrastive losses, on clips like those of the web.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_natural.py
Expected: top-1 0.875 ± 0.012 (measured here, 10 seeds). Hardware: 1 CPU core.
"""

_base_ = ['../_base_/models/mmt_nano.py', '../_base_/datasets/avsynth_natural.py', '../_base_/schedules/nano_16e.py']
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
