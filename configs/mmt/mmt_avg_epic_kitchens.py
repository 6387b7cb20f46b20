"""MViTv2-B and MAT, probabilities averaged, EPIC-Kitchens-100.

The paper averages two models trained each by itself: tools/model_converters/merge_checkpoints.py makes of theirs one
checkpoint to test here.
Train: tools/dist_train.sh configs/mmt/mmt_avg_epic_kitchens.py 8
Expected: top-1 action 46.5 (paper, Table 4, Avg); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').avg
