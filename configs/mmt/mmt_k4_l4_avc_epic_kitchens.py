"""MMT, K = 4 blocks, L = 4 bottleneck tokens, EPIC-Kitchens-100, with the audio-video contrastive loss ("+AVC").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_epic_kitchens.py 8
Expected: top-1 action 47.4 (paper, Table 4, +AVC); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').avc
