"""The small encoders of MMT with gated fusion in place of the bottleneck, on AVSynth, the 16-class task.

    python tools/data/avsynth/make_avsynth.py data/avsynth
    python tools/train.py projects/example_project/configs/gated_fusion_tiny_avsynth.py

Hardware: 2 CPU cores. Expected: see projects/example_project/README.md, measured here.
"""

_base_ = ['../../../configs/mmt/mmt_tiny_avsynth.py']

# found from the folder in which the tools are called: the root of the repository
custom_imports = dict(imports=['projects.example_project.gated_fusion'])

model = dict(neck=dict(_delete_=True, type='GatedFusion', embed_dims=128))
