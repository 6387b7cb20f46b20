r"""MMT, K = 4 blocks, L = 4 bottleneck tokens, Kinetics-Sounds, with the audio-video contrastive loss ("+AVC").

    tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_kinetics_sounds.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_l4_avc_kinetics_sounds.py \
        work_dirs/mmt_k4_l4_avc_kinetics_sounds/epoch_300.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 92.2 (paper, "+AVC", on 1,585 test clips). Not yet
run here.
"""

_base_ = ['./mmt_k4_l4_kinetics_sounds.py']

model = dict(
    contrast=dict(type='ContrastiveHead', embed_dims=256, losses=[dict(type='AVCLoss', tau=0.07, loss_weight=0.25)])
)
