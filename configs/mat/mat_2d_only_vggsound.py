"""MAT whose last stage, too, pools along time and frequency, down to 4 x 32 tokens, VGGSound.

Train: tools/dist_train.sh configs/mat/mat_2d_only_vggsound.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mat_base_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').mat_2d_only
