"""Kinetics-Sounds (Arandjelovic & Zisserman 2017): 32 classes of Kinetics-400 that can be seen and heard; 10 s clips.

Frames, spectrograms and augmentation are those of VGGSound. Expects in ``data_root``: ``train.csv`` and ``test.csv``
(columns path,label), ``classes.txt``, and the clips; the test clips are those of Kinetics-400's validation split.
"""

_base_ = ['./vggsound.py']

data_root = 'data/kinetics_sounds'
num_classes = 32

# The audio's statistics are VGGSound's, which are 10 s clips from YouTube, too: we know of none of Kinetics-Sounds, and
# they are not yet measured. Yours: python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_kinetics_sounds.py
# part_of: weights that were trained on Kinetics-400 have seen these clips with their labels, and are refused
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root, part_of='Kinetics-400'))
