"""Audio alone, MAT at paper size, EPIC-Kitchens-100.

Train: tools/dist_train.sh configs/mat/mat_base_epic_kitchens.py 8
Expected: top-1 action 17.4 (paper, Table 2, MAT); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_epic_kitchens.py', '../_base_/variants.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
