"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound, with both contrastive losses ("+AVC+IMC", the full MMT).

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imc_vggsound.py 8
Expected: top-1 66.2 (paper, Table 3, +AVC+IMC); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').avc_imc
