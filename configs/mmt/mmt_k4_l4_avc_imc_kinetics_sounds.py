"""MMT, K = L = 4, Kinetics-Sounds, with both contrastive losses ("+AVC+IMC", the full MMT).

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imc_kinetics_sounds.py 8
Expected: top-1 92.3 (paper, Table 3, +AVC+IMC); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_kinetics_sounds.py', '../_base_/variants.py']
model = _base_.pop('variants').avc_imc
