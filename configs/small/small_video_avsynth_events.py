"""The video half of small_avsynth_events.py alone, which cannot know what is only heard.

Train: python tools/train.py configs/small/small_video_avsynth_events.py
Expected: mAP 0.690 (measured here, one run). Hardware: 2 CPU cores.
"""

_base_ = ['./small_avsynth_events.py']
model = dict(backbones=dict(audio=None))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('video',)))
