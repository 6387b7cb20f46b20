"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound, with both contrastive losses ("+AVC+IMC", the full MMT).

    tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_imc_vggsound.py 8
    tools/dist_test.sh configs/mmt/mmt_k4_l4_avc_imc_vggsound.py work_dirs/mmt_k4_l4_avc_imc_vggsound/epoch_50.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 66.2 (paper, "+AVC+IMC", on 12,790 test clips).
Not yet run here.
"""

_base_ = ['./mmt_k4_l4_vggsound.py']

model = dict(
    contrast=dict(
        type='ContrastiveHead',
        embed_dims=256,
        losses=[
            dict(type='AVCLoss', tau=0.07, loss_weight=0.25),
            dict(type='IMCLoss', tau=0.07, loss_weight=0.25),
        ],
    )
)
