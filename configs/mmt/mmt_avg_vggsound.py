"""MViTv2-B and MAT, probabilities averaged, VGGSound.

    tools/dist_train.sh configs/mmt/mmt_avg_vggsound.py 8 --amp
    tools/dist_test.sh configs/mmt/mmt_avg_vggsound.py work_dirs/mmt_avg_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 62.4 (paper, "Avg": two models trained
each by itself, as tools/analysis_tools/average_predictions.py averages them). Not yet run here.
"""

_base_ = ['./mmt_k4_l4_vggsound.py']

model = dict(neck=dict(_delete_=True, type='Avg'))
