"""The small MMT on AVSynth with a verb and a noun a clip, the twin of the configs for EPIC-Kitchens-100.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_action --task action
Train: python tools/train.py configs/mmt/mmt_tiny_avsynth_action.py
Expected: top-1 action 0.985 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/avsynth_action.py', '../_base_/schedules/tiny_10e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    head=dict(type='VerbNounHead', num_verbs=_base_.num_classes.verb, num_nouns=_base_.num_classes.noun),
)
