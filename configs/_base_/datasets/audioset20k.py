"""AudioSet, trained on its balanced list alone (AS-20K), tested as AS-2M is, see audioset.py.

Expects in ``data_root``: ``train_balanced.csv``, ``test.csv``, ``classes.txt`` and the clips.
"""

_base_ = ['./audioset.py']

train_dataloader = dict(dataset=dict(ann_file='train_balanced.csv'))
