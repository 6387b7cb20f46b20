"""AVE (Tian et al. 2018): 10 s clips of AudioSet, 28 classes of events that can be seen and heard.

Frames, spectrograms and augmentation are those of VGGSound. Expects in ``data_root``: ``train.csv``, ``val.csv`` and
``test.csv`` (columns path,label, or path,start,end,label for events alone), ``classes.txt``, and the clips.
"""

_base_ = ['./vggsound.py']

data_root = 'data/ave'
num_classes = 28

# The audio's statistics are VGGSound's, which are 10 s clips from YouTube, too; they are not yet measured. Yours:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_ave.py
train_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='val.csv'))
