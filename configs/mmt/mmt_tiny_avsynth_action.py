"""The small MMT on AVSynth with a verb and a noun a clip, the twin of the configs for EPIC-Kitchens-100.

    python tools/data/avsynth/make_avsynth.py data/avsynth_action --task action
    python tools/train.py configs/mmt/mmt_tiny_avsynth_action.py
    python tools/test.py configs/mmt/mmt_tiny_avsynth_action.py work_dirs/mmt_tiny_avsynth_action/epoch_10.pth

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_action.py', '../_base_/schedules/tiny_10e.py']

model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=_base_.num_classes.verb,
        num_nouns=_base_.num_classes.noun,
        loss=dict(type='CrossEntropyLoss', label_smoothing=0.1),
    ),
)
