"""Video alone, MViTv2-B, VGGSound.

Train: tools/dist_train.sh configs/mvitv2/mvitv2_base_vggsound.py 8
Expected: top-1 56.1 (paper, Table 3, Video Only); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').video_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
