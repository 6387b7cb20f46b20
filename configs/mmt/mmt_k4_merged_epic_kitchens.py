"""MMT with self-attention over all tokens in place of the bottleneck, K = 4 blocks, EPIC-Kitchens-100.

    tools/dist_train.sh configs/mmt/mmt_k4_merged_epic_kitchens.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_merged_epic_kitchens.py work_dirs/mmt_k4_merged_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: not yet run; the paper has no such row.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py']

model = dict(
    neck=dict(_delete_=True, type='MergedAttention', embed_dims=768, num_blocks=4, num_heads=12),
)
