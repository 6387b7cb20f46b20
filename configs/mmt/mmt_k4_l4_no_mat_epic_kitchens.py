"""MMT with three blocks at constant resolution in place of MAT ("AVBottle w/o MAT"), EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_no_mat_epic_kitchens.py 8
Expected: top-1 action 46.3 (paper, Table 4, AVBottle w/o MAT); not yet run here. Hardware: 8 GPUs of 40 GB (32.0 GiB by
plan_memory.py).
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').no_mat
