"""Segments of long videos, one label each, as ``prepare_segments.py`` writes them; the class list decides the classes.

Frames, spectrograms and augmentation are those of VGGSound: 16 frames over 2.1 s and 10.24 s of sound; of a longer
segment a random (in testing: the middle) stretch. Expects in ``data_root``: ``train.csv`` and ``test.csv`` (columns
path,start,end,label), ``classes.txt``, and the videos.
"""

_base_ = ['./vggsound.py']

data_root = 'data/segments'
num_classes = 'auto'

# The audio's statistics are VGGSound's. Those of your segments:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_segments.py
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
