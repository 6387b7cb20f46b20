"""AVSynth's parity task: class = (visual event + sound event) mod 4. Either modality alone tells nothing.

``python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity`` writes it.
"""

_base_ = ['./avsynth.py']

data_root = 'data/avsynth_parity'
num_classes = 4

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(topk=(1,))
