"""Video alone, MViTv2-B on Kinetics-Sounds, with SlowFast's recipe for Kinetics-400: 32 frames, 200 epochs.

The values are those of facebookresearch/SlowFast, configs/Kinetics/MVITv2_B_32x3.yaml; docs/recipes.md names each
option.

Train: tools/dist_train.sh configs/mvitv2/mvitv2_recipe_kinetics_sounds.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mvitv2_base_kinetics_sounds.py']

max_epochs = 200

# from scratch
model = dict(pretrained=False, backbones=dict(video=dict(input_size=(32, 224, 224))))

# every third frame at 30 frames a second
__load = dict(num_frames=32, frame_interval=0.1)
train_pipeline = [{**_base_.train_pipeline[0], **__load}, *_base_.train_pipeline[1:]]
val_pipeline = [{**_base_.val_pipeline[0], **__load}, *_base_.val_pipeline[1:]]
test_pipeline = [{**_base_.test_pipeline[0], **__load}, *_base_.test_pipeline[1:]]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=30, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=30, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_epochs=max_epochs)
