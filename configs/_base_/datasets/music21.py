"""MUSIC-21 (Zhao et al. 2019), solos: people who play one of 21 instruments.

Frames, spectrograms and augmentation are those of VGGSound; of a longer clip, 10.24 s at random (in testing: the
middle). Expects in ``data_root``: ``train.csv``, ``val.csv`` and ``test.csv`` (columns path,label, or
path,start,end,label for videos that are cut), ``classes.txt``, and the videos.
"""

_base_ = ['./vggsound.py']

data_root = 'data/music21'
num_classes = 21

# The audio's statistics are VGGSound's, not yet measured. Yours:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_music21.py
train_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='val.csv'))
