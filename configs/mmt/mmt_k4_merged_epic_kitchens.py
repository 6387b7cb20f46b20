"""MMT with self-attention over all tokens in place of the bottleneck, K = 4 blocks, EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mmt/mmt_k4_merged_epic_kitchens.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').merged
