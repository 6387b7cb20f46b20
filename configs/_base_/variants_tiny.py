"""The rows of variants.py for the small models: what has another size there."""

_base_ = ['./variants.py']

__size = dict(embed_dims=128, num_heads=4, init_std=0.08)
# two layers of each encoder; AVBottleneck's two blocks are the other two of MBT's
__vit = dict(_delete_=True, **__size, num_layers=2, final_norm=False)


def __audio(**changes: object) -> dict:
    return dict(backbones=dict(audio=changes))


variants = dict(
    merged=dict(neck=dict(embed_dims=128, num_blocks=2, num_heads=4)),
    al=dict(contrast=dict(embed_dims=64)),
    avc=dict(contrast=dict(embed_dims=64)),
    avc_imal=dict(contrast=dict(embed_dims=64)),
    avc_imc=dict(contrast=dict(embed_dims=64)),
    ast=dict(_delete_=True, **__audio(_delete_=True, type='AST', **__size, input_size=(128, 192), num_layers=3)),
    no_mat=__audio(**__size, input_size=(128, 192), patch_stride=(8, 8)),
    # 16 x 24, 8 x 12, 4 x 6 tokens
    mat_2d_only=__audio(q_strides=((2, 2), (2, 2))),
    # 16 x 24, 16 x 6, 16 x 3 tokens, as many as MAT has; the kernel of 5 leaves out no frame at stride 4
    mat_time_only=dict(_delete_=True, **__audio(q_strides=((1, 4), (1, 2)), kv_stride=(1, 4), pool_kernel=(3, 5))),
    # 8 x 12 tokens of 64, as many as in MAT's second stage, in all four blocks
    mat_single_scale=dict(
        _delete_=True,
        **__audio(
            arch=dict(embed_dims=64, num_layers=4, num_heads=2, stage_blocks=()),
            patch_kernel=(15, 15),
            patch_stride=(16, 16),
            q_strides=(),
            kv_stride=(1, 1),
        ),
    ),
    mbt=dict(
        _delete_=True,
        backbones=dict(
            video=dict(**__vit, type='ViT', input_size=(8, 64, 64)),
            audio=dict(**__vit, type='AST', input_size=(128, 192), patch_stride=(16, 16), dist_token=False),
        ),
        neck=dict(update='average'),
    ),
)
