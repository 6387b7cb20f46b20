"""MBT (Nagrani et al. 2021), VGGSound: two ViT-B, 4 averaged bottleneck tokens in the last 4 of 12 layers.

    tools/dist_train.sh configs/mbt/mbt_b_vggsound.py 8
    tools/dist_test.sh configs/mbt/mbt_b_vggsound.py work_dirs/mbt_b_vggsound/epoch_50.pth 8

The optimiser, label smoothing, mixup, dropout and drop path are those of google-research/scenic, projects/mbt; data,
augmentation and test views stay those of the other models here. Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each.
Expected: top-1 64.1 (MBT's paper, from ImageNet-21K weights, on its own test list). Not yet run here.
"""

_base_ = ['../mmt/mmt_k4_l4_vggsound.py']

# layers 1 to 8 of each encoder; AVBottleneck's four blocks are 9 to 12, so that no LayerNorm comes between. They start
# from ViT-B of ImageNet-21K, as MBT does; not strict, as its layers 9 to 12 have no place here: those are drawn
encoder = dict(
    num_layers=8,
    final_norm=False,
    drop_path_rate=0.2,
    init_cfg=dict(type='PublicWeights', checkpoint='vit_b_in21k', strict=False),
)
model = dict(
    # mixup alone: MBT does not cut
    data_preprocessor=dict(batch_augment=dict(mixup_alpha=0.5, cutmix_alpha=0.0)),
    backbones=dict(
        video=dict(_delete_=True, **encoder, type='ViT', input_size=(16, 224, 224)),
        audio=dict(
            _delete_=True, **encoder, type='AST', input_size=(128, 1024), patch_stride=(16, 16), dist_token=False
        ),
    ),
    neck=dict(update='average', drop_path_rate=0.3),
    head=dict(dropout=0.0, loss=dict(label_smoothing=0.3)),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.5, momentum=0.9, weight_decay=0.0))
