"""What each row of the paper's Tables 2 to 4 changes in ``model``, at paper size. An experiment takes its row:

    model = _base_.pop('variants').avc_imc

``pop`` takes the rows out of the bases: what stays in them becomes a part of the experiment. Names that begin with two
underscores, and functions, stay in their file anyway.
"""


def __contrast(*losses: str) -> dict:
    """Losses on the encoders' class embeddings (Eq. 3, 4, 8), with the paper's temperature, weights and width."""
    parts = [dict(type=loss, tau=0.07, loss_weight=0.25) for loss in losses]
    return dict(contrast=dict(type='ContrastiveHead', embed_dims=256, losses=parts))


def __audio(**changes: object) -> dict:
    return dict(backbones=dict(audio=changes))


# Layers 1 to 8 of MBT's encoders; AVBottleneck's four blocks are 9 to 12, so that no LayerNorm is between. They start
# from ViT-B of ImageNet-21K, as MBT does; not strict, as its layers 9 to 12 have no place here: those are drawn.
__vit = dict(
    _delete_=True,
    num_layers=8,
    final_norm=False,
    drop_path_rate=0.2,
    init_cfg=dict(type='PublicWeights', checkpoint='vit_b_in21k', strict=False),
)
# DeiT's ImageNet weights, which AST starts from (YuanGongND/ast, src/models/ast_models.py, 'base384')
__deit = dict(type='PublicWeights', checkpoint='deit_b_distilled_384_in1k')

variants = dict(
    # one encoder left out
    audio_only=dict(backbones=dict(video=None), neck=dict(_delete_=True, type='Avg')),
    video_only=dict(backbones=dict(audio=None), neck=dict(_delete_=True, type='Avg')),
    # another neck
    avg=dict(neck=dict(_delete_=True, type='Avg')),
    concat=dict(neck=dict(_delete_=True, type='Concat')),
    merged=dict(neck=dict(_delete_=True, type='MergedAttention', embed_dims=768, num_blocks=4, num_heads=12)),
    # contrastive losses
    al=__contrast('ALLoss'),
    avc=__contrast('AVCLoss'),
    avc_imal=__contrast('AVCLoss', 'IMALLoss'),
    avc_imc=__contrast('AVCLoss', 'IMCLoss'),
    # another audio encoder
    ast=dict(**__audio(_delete_=True, type='AST', input_size=(128, 1024), init_cfg=__deit), head=dict(dropout=0.0)),
    # MAT's patches, 32 x 256 tokens, but of width 768 throughout. The paper names three blocks and the width; that the
    # patches are MAT's is our reading of "the first three layers of MAT". From scratch: nobody publishes such weights.
    no_mat=__audio(
        _delete_=True,
        type='AST',
        input_size=(128, 1024),
        patch_kernel=(7, 7),
        patch_stride=(4, 4),
        patch_padding=3,
        num_layers=3,
        dist_token=False,
    ),
    # MAT's stages: 4 x 32 tokens in the last one
    mat_2d_only=__audio(q_strides=((2, 2), (2, 2), (2, 2))),
    # 32 x 256, 32 x 64, 32 x 16, 32 x 8 tokens; the kernel of 5 leaves out no frame at stride 4. Public weights have
    # none of that size: strict=False takes all else from them and draws the pooling kernels.
    mat_time_only=__audio(
        q_strides=((1, 4), (1, 4), (1, 2)), kv_stride=(1, 4), pool_kernel=(3, 5), init_cfg=dict(strict=False)
    ),
    # 8 x 64 tokens of 384, those of MAT's third stage, in all blocks. From scratch: nobody publishes such weights.
    mat_single_scale=__audio(
        arch=dict(_delete_=True, embed_dims=384, num_layers=24, num_heads=4, stage_blocks=()),
        patch_kernel=(15, 15),
        patch_stride=(16, 16),
        q_strides=(),
        kv_stride=(1, 1),
        init_cfg=None,
    ),
    # not of the paper: both encoders leave out half of the time in training, pairs of frames and 320 ms of sound at a
    # time, which allows for more epochs (docs/token_dropping.md)
    token_drop=dict(
        backbones=dict(
            video=dict(token_drop=dict(axes=(0.5, 0.0, 0.0))),
            audio=dict(token_drop=dict(axes=(0.0, 0.5))),
        )
    ),
    # MBT's mixup (it does not cut), label smoothing, dropout and drop path, from google-research/scenic, projects/mbt
    mbt=dict(
        data_preprocessor=dict(batch_augment=dict(mixup_alpha=0.5, cutmix_alpha=0.0)),
        backbones=dict(
            video=dict(**__vit, type='ViT', input_size=(16, 224, 224)),
            audio=dict(**__vit, type='AST', input_size=(128, 1024), patch_stride=(16, 16), dist_token=False),
        ),
        neck=dict(update='average', drop_path_rate=0.3),
        head=dict(dropout=0.0, loss=dict(label_smoothing=0.3)),
    ),
    # and its optimizer
    mbt_optimizer=dict(_delete_=True, type='SGD', lr=0.5, momentum=0.9, weight_decay=0.0),
)
