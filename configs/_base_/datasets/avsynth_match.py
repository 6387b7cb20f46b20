"""AVSynth's match task: picture and sound agree, and either alone can tell the class.

``python tools/data/avsynth/make_avsynth.py data/avsynth_match --task match`` writes it.
"""

_base_ = ['./avsynth.py']

data_root = 'data/avsynth_match'
num_classes = 4

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = dict(topk=(1,))
test_evaluator = dict(topk=(1,))
