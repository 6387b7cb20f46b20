"""The small MMT with both contrastive losses on AVSynth with a verb and a noun; a category is a pair of both.

    python tools/data/avsynth/make_avsynth.py data/avsynth_action --task action
    python tools/train.py configs/mmt/mmt_tiny_avc_imc_avsynth_action.py

Hardware: 2 CPU cores. Two views of each clip. Expected: not yet run to the end.
"""

_base_ = ['./mmt_tiny_avsynth_action.py']

model = dict(
    contrast=dict(
        type='ContrastiveHead',
        embed_dims=64,
        losses=[
            dict(type='AVCLoss', tau=0.07, loss_weight=0.25),
            dict(type='IMCLoss', tau=0.07, loss_weight=0.25),
        ],
    )
)

# the parent's steps with two views of the picture, and, before SpecAugment, two of the sound
train_pipeline = [
    dict(**_base_.load, mode='random', num_views=2),
    *_base_.train_pipeline[1:4],
    dict(type='AudioViews', num_views=2),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
