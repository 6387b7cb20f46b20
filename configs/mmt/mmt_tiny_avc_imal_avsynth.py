"""The small MMT with AVC and the intra-modal alignment loss ("+AVC+IM-AL") on AVSynth.

    python tools/train.py configs/mmt/mmt_tiny_avc_imal_avsynth.py
    python tools/test.py configs/mmt/mmt_tiny_avc_imal_avsynth.py work_dirs/mmt_tiny_avc_imal_avsynth/epoch_10.pth

Hardware: 2 CPU cores. Two views of each clip. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avc_2views_avsynth.py']

model = dict(
    contrast=dict(
        losses=[
            dict(type='AVCLoss', tau=0.07, loss_weight=0.25),
            dict(type='IMALLoss', tau=0.07, loss_weight=0.25),
        ]
    )
)
