"""The small MMT on AVSynth's match task: what is left of it without picture or without sound?

    python tools/data/avsynth/make_avsynth.py data/avsynth_match --task match
    python tools/train.py configs/mmt/mmt_tiny_avsynth_match.py
    python tools/test.py configs/mmt/mmt_tiny_avsynth_match.py \
        work_dirs/mmt_tiny_avsynth_match/epoch_10.pth --drop audio

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_match.py', '../_base_/schedules/tiny_10e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(num_classes=_base_.num_classes),
)
