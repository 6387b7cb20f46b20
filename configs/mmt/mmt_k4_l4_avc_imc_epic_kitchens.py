"""MMT, K = L = 4, EPIC-Kitchens-100, with both contrastive losses ("+AVC+IMC", the full MMT).

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imc_epic_kitchens.py 8
Expected: top-1 action 47.8 (paper, Table 4, +AVC+IMC); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').avc_imc
