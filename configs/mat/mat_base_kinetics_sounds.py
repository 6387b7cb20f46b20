"""Audio alone, MAT at paper size, Kinetics-Sounds.

Train: tools/dist_train.sh configs/mat/mat_base_kinetics_sounds.py 8
Expected: top-1 74.8 (paper, Table 2, MAT); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_kinetics_sounds.py', '../_base_/variants.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
