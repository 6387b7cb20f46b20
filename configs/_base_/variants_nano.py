"""The rows of variants.py for the smallest models: what has another size there."""

_base_ = ['./variants.py']

__contrast = dict(contrast=dict(embed_dims=64))

variants = dict(
    al=__contrast,
    avc=__contrast,
    avc_imal=__contrast,
    avc_imc=__contrast,
    # one of the two slices of four frames, one of the four quarters of the sound
    token_drop=dict(
        backbones=dict(
            video=dict(token_drop=dict(axes=(0.5, 0.0, 0.0))),
            audio=dict(token_drop=dict(axes=(0.0, 0.25))),
        )
    ),
    # MAT's patches, 4 x 16 tokens, of the width of its last stage in all blocks; with 32, seeds differ by much
    no_mat=dict(
        backbones=dict(
            audio=dict(
                embed_dims=64,
                num_heads=2,
                init_std=0.1,
                input_size=(64, 64),
                patch_kernel=(15, 7),
                patch_stride=(16, 4),
                patch_padding=(7, 3),
            )
        )
    ),
)
