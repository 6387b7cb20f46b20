"""MViTv2-B and MAT without fusion blocks, one classifier on both class tokens, VGGSound.

Train: tools/dist_train.sh configs/mmt/mmt_concat_vggsound.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').concat
