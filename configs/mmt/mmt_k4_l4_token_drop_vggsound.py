"""MMT whose encoders leave out half of the time in training, VGGSound: more epochs for the same money.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_token_drop_vggsound.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB (10.6 GiB by plan_memory.py).
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').token_drop
