"""MMT, K = 4 blocks, L = 4 bottleneck tokens, Kinetics-Sounds, with the alignment loss ("+AL").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_al_kinetics_sounds.py 8
Expected: top-1 91.4 (paper, Table 3, +AL); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_kinetics_sounds.py', '../_base_/variants.py']
model = _base_.pop('variants').al
