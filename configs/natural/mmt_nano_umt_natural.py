"""The smallest MMT whose encoders are taught by those of its halves (UMT), which are trained first.

Data: python tools/data/avsynth/make_avsynth.py data/avsynth_natural --task natural
Train: python tools/train.py configs/natural/mmt_nano_umt_natural.py
Expected: top-1 0.906 ± 0.008 (measured here, 10 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./mmt_nano_natural.py']
audio = dict(config='configs/natural/mat_nano_natural.py', checkpoint='work_dirs/mat_nano_natural/epoch_16.pth')
video = dict(config='configs/natural/mvitv2_nano_natural.py', checkpoint='work_dirs/mvitv2_nano_natural/epoch_16.pth')
model = dict(auxiliary=dict(teachers=dict(type='UnimodalTeachers', loss_weight=5.0, audio=audio, video=video)))
