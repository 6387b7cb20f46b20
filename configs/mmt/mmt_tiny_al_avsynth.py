"""The small MMT with the alignment loss ("+AL") on AVSynth: only sound and picture of the same clip match.

    python tools/train.py configs/mmt/mmt_tiny_al_avsynth.py
    python tools/test.py configs/mmt/mmt_tiny_al_avsynth.py work_dirs/mmt_tiny_al_avsynth/epoch_10.pth

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avc_avsynth.py']

model = dict(contrast=dict(losses=[dict(type='ALLoss', tau=0.07, loss_weight=0.25)]))
