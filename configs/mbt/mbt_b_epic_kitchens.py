"""MBT (Nagrani et al. 2021), EPIC-Kitchens-100: two ViT-B, 4 averaged bottleneck tokens in the last 4 of 12 layers.

Train: tools/dist_train.sh configs/mbt/mbt_b_epic_kitchens.py 8
Expected: top-1 action 43.4 (paper, Table 2, MBT); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
optim_wrapper = dict(optimizer=_base_.variants.mbt_optimizer)
model = _base_.pop('variants').mbt
