"""Video alone, MViTv2-B, Kinetics-Sounds.

Train: tools/dist_train.sh configs/mvitv2/mvitv2_base_kinetics_sounds.py 8
Expected: top-1 91.6 (paper, Table 3, Video Only); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_kinetics_sounds.py', '../_base_/variants.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
