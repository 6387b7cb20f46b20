"""The small MMT with the audio-video contrastive loss ("+AVC") on AVSynth.

    python tools/train.py configs/mmt/mmt_tiny_avc_avsynth.py
    python tools/test.py configs/mmt/mmt_tiny_avc_avsynth.py work_dirs/mmt_tiny_avc_avsynth/epoch_10.pth

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth.py']

model = dict(
    contrast=dict(type='ContrastiveHead', embed_dims=64, losses=[dict(type='AVCLoss', tau=0.07, loss_weight=0.25)])
)
