"""UCF101 (Soomro et al. 2012): 101 classes of actions in clips of some seconds; 51 of the classes have sound.

Frames, spectrograms and augmentation are those of VGGSound. Expects in ``data_root``: ``train.csv`` and ``test.csv`` of
one of the three official splits (columns path,label), ``classes.txt``, and the clips. Audio that a clip does not have
counts as absent.
"""

_base_ = ['./vggsound.py']

data_root = 'data/ucf101'
num_classes = 101

# The audio's statistics are VGGSound's, not yet measured. Yours:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_ucf101.py
# There is no validation list: what is reported after each epoch is measured on the test list.
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
