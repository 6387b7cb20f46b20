"""MMT, K = 4 blocks, L = 4 bottleneck tokens, MUSIC-21.

Solos, one label a clip. With duets clips have several labels: tools/data/music21/README.md has the options. The
schedule is chosen, not measured.

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_music21.py 8
Test: tools/dist_test.sh configs/mmt/mmt_k4_l4_music21.py work_dirs/mmt_k4_l4_music21/epoch_100.pth 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../_base_/models/mmt_base.py', '../_base_/datasets/music21.py', '../_base_/schedules/mvitv2_100e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm, batch_augment=dict(num_classes=_base_.num_classes)),
    head=dict(num_classes=_base_.num_classes),
)
