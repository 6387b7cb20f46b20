"""MViTv2-B and MAT, probabilities averaged, EPIC-Kitchens-100.

    tools/dist_train.sh configs/mmt/mmt_avg_epic_kitchens.py 8
    tools/dist_test.sh configs/mmt/mmt_avg_epic_kitchens.py work_dirs/mmt_avg_epic_kitchens/epoch_100.pth 8

Here both are trained together. The paper averages two models that were trained each by itself:
tools/model_converters/merge_checkpoints.py makes one checkpoint of theirs, which this config tests. Hardware: 8 GPUs
of 40 GB, 8 clips of 2 views each. Expected: top-1 action 46.5 (paper, "Avg", on the validation split). Not yet run
here.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py']

model = dict(neck=dict(_delete_=True, type='Avg'))
