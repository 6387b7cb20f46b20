"""Audio alone, MAT at paper size, VGGSound.

Train: tools/dist_train.sh configs/mat/mat_base_vggsound.py 8
Expected: top-1 57.0 (paper, Table 2, MAT); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
