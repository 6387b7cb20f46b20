"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound, with AVC and the intra-modal alignment loss ("+AVC+IM-AL").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imal_vggsound.py 8
Expected: top-1 65.7 (paper, Table 3, +AVC+IM AL); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').avc_imal
