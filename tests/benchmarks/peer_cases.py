"""The cases of benchmarks/peers.py with models that take milliseconds."""

from functools import partial

from benchmarks.peers import ast_case, attention_case, image_case, mat_case, video_case

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1,))
VIT = dict(width=32, layers=2, heads=2)
CASES = dict(
    video=partial(video_case, arch=ARCH, size=(4, 32, 32)),
    image=partial(image_case, arch=ARCH, size=(64, 64)),
    ast=partial(ast_case, size=(64, 96), **VIT),
    mat=partial(mat_case, arch=ARCH, size=(64, 96), **VIT),
    attention=partial(attention_case, arch=ARCH, size=(4, 32, 32)),
)
