"""MAT that pools along time only: as many tokens in every stage as MAT has, all 32 frequencies kept, VGGSound.

Train: tools/dist_train.sh configs/mat/mat_time_only_vggsound.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mat_base_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').mat_time_only
