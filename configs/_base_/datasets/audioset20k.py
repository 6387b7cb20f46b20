"""AudioSet, trained on its balanced list alone (AS-20K), tested as AS-2M is, see audioset.py.

Expects in ``data_root``: ``train_balanced.csv``, ``test.csv``, ``classes.txt`` and the clips.
"""

_base_ = ['./audioset.py']

# a list that is balanced already is drawn as it is, as in the literature
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True), dataset=dict(ann_file='train_balanced.csv')
)
