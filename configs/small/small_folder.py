"""Small convolutional encoders on a folder of one's own clips, from scratch: train.csv, test.csv, classes.txt.

Train: python tools/train.py configs/small/small_folder.py --data-root DIR
Test: python tools/test.py configs/small/small_folder.py work_dirs/small_folder/epoch_20.pth --data-root DIR
Expected: top-1 0.903, 0.907, 0.907 (measured here, three seeds, on 300 clips of digits, see README.md). Hardware: 2 CPU
cores.
"""

_base_ = ['../_base_/models/conv_small.py', '../_base_/datasets/folder_small.py', '../_base_/schedules/small_20e.py']
model = dict(data_preprocessor=dict(norm=_base_.norm), head=dict(num_classes=_base_.num_classes))
