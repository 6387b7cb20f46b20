"""AVSynth's task of several events at once, for small encoders: some are only seen, some only heard, some both.

``python tools/data/avsynth/make_avsynth.py data/avsynth_events --task events`` writes it. A clip has one to four of the
six classes, two on average.
"""

_base_ = ['./folder_small.py']

data_root = 'data/avsynth_events'
num_classes = 6

train_dataloader = dict(dataset=dict(data_root=data_root, multi_label=True))
val_dataloader = dict(dataset=dict(data_root=data_root, multi_label=True, ann_file='val.csv'))
test_dataloader = dict(dataset=dict(data_root=data_root, multi_label=True))
val_evaluator = test_evaluator = dict(_delete_=True, type='MultiLabelMetric')
