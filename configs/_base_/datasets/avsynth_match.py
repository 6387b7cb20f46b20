"""AVSynth's match task: video and audio agree, and either alone can tell the class.

``python tools/data/avsynth/make_avsynth.py data/avsynth_match --task match`` writes it.
"""

_base_ = ['./avsynth.py']

data_root = 'data/avsynth_match'
num_classes = 4

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(topk=(1,))
