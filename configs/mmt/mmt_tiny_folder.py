"""The small MMT on a folder of one's own clips: train.csv, test.csv (columns path,label), classes.txt (a name a line).

For tens of thousands of clips: on 2,000 clips of ten classes it was at chance after ten epochs, where
configs/small/small_folder.py has 0.9.

Train: python tools/train.py configs/mmt/mmt_tiny_folder.py --data-root DIR
Test: python tools/test.py configs/mmt/mmt_tiny_folder.py work_dirs/mmt_tiny_folder/epoch_20.pth --data-root DIR
Expected: not yet run here. Hardware: 2 CPU cores.
"""

_base_ = ['../_base_/models/mmt_tiny.py', '../_base_/datasets/folder.py', '../_base_/schedules/tiny_10e.py']
model = dict(
    data_preprocessor=dict(norm=_base_.norm),
    backbones=dict(video=dict(input_size=(8, 96, 96)), audio=dict(input_size=(128, 512))),
    head=dict(num_classes=_base_.num_classes),
)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
max_epochs = 20
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=2, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=8)
