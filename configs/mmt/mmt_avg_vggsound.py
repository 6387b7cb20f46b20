"""MViTv2-B and MAT, probabilities averaged, VGGSound.

The paper averages two models trained each by itself: tools/model_converters/merge_checkpoints.py makes of theirs one
checkpoint to test here.
Train: tools/dist_train.sh configs/mmt/mmt_avg_vggsound.py 8
Expected: top-1 62.4 (paper, Table 3, Avg); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').avg
