"""MViTv2-B and MAT without fusion blocks, one classifier on both class tokens, EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mmt/mmt_concat_epic_kitchens.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').concat
