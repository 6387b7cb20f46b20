"""MMT, K = 4 blocks, L = 4 bottleneck tokens, EPIC-Kitchens-100, with the alignment loss ("+AL").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_al_epic_kitchens.py 8
Expected: top-1 action 46.6 (paper, Table 4, +AL); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').al
