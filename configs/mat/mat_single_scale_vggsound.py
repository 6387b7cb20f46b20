"""MAT's blocks at one scale: 24 blocks on 8 x 64 tokens of 384, those of MAT's third stage, VGGSound.

Train: tools/dist_train.sh configs/mat/mat_single_scale_vggsound.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mat_base_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').mat_single_scale
