"""MMT, K = 4 blocks, L = 4 bottleneck tokens, EPIC-Kitchens-100, with the audio-video contrastive loss ("+AVC").

    tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_epic_kitchens.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_l4_avc_epic_kitchens.py work_dirs/mmt_k4_l4_avc_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 action 47.4 (paper, "+AVC", on the validation
split). Not yet run here.
"""

_base_ = ['./mmt_k4_l4_epic_kitchens.py']

model = dict(
    contrast=dict(type='ContrastiveHead', embed_dims=256, losses=[dict(type='AVCLoss', tau=0.07, loss_weight=0.25)])
)
