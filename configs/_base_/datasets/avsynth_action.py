"""AVSynth with two labels a clip, as in EPIC-Kitchens: the visual event is the verb, the sound event the noun.

``python tools/data/avsynth/make_avsynth.py data/avsynth_action --task action`` writes it.
"""

_base_ = ['./avsynth.py']

data_root = 'data/avsynth_action'
num_classes = dict(_delete_=True, verb=4, noun=4)

train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(data_root=data_root, classes=dict(_delete_=True, verb='verbs.txt', noun='nouns.txt'))
)
# with 4 verbs and 4 nouns the five most probable tell nothing
val_evaluator = test_evaluator = dict(_delete_=True, type='ActionAccuracy', topk=(1,))
