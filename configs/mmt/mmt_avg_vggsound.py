"""MViTv2-B and MAT, probabilities averaged, VGGSound.

    tools/dist_train.sh configs/mmt/mmt_avg_vggsound.py 8
    tools/dist_test.sh configs/mmt/mmt_avg_vggsound.py work_dirs/mmt_avg_vggsound/epoch_50.pth 8

Here both are trained together. The paper averages two models that were trained each by itself:
tools/model_converters/merge_checkpoints.py makes one checkpoint of theirs, which this config tests. Hardware: 8 GPUs
of 40 GB, 8 clips of 2 views each. Expected: top-1 62.4 (paper, "Avg", on 12,790 test clips). Not yet run here.
"""

_base_ = ['./mmt_k4_l4_vggsound.py']

model = dict(neck=dict(_delete_=True, type='Avg'))
