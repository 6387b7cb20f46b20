"""Audio alone, MAT at paper size, several labels a clip, AudioSet's balanced and unbalanced list (AS-2M).

Train: tools/dist_train.sh configs/mat/mat_base_audioset.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mmt/mmt_k4_l4_audioset.py', '../_base_/variants.py']
model = _base_.pop('variants').audio_only
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(modalities=('audio',)))
