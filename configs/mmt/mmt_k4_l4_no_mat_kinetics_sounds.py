"""MMT with three blocks at constant resolution in place of MAT ("AVBottle w/o MAT"), Kinetics-Sounds.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_no_mat_kinetics_sounds.py 8
Expected: top-1 91.8 (paper, Table 3, AVBottle w/o MAT); not yet run here. Hardware: 8 GPUs of 40 GB (32.0 GiB by
plan_memory.py).
"""

_base_ = ['./mmt_k4_l4_kinetics_sounds.py', '../_base_/variants.py']
model = _base_.pop('variants').no_mat
