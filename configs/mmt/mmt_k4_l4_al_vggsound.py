"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound, with the alignment loss ("+AL").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_al_vggsound.py 8
Expected: top-1 63.5 (paper, Table 3, +AL); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').al
