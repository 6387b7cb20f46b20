"""MMT, K = L = 4, EPIC-Kitchens-100, with AVC and the intra-modal alignment loss ("+AVC+IM-AL").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imal_epic_kitchens.py 8
Expected: top-1 action 47.3 (paper, Table 4, +AVC+IM AL); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').avc_imal
