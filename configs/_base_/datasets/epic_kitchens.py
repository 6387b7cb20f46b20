"""EPIC-Kitchens-100 (Damen et al. 2022): parts of long videos with a verb and a noun; 16 frames, 128 x 1024 log-mels.

Expects in ``data_root``: ``train.csv`` and ``test.csv`` (columns path,start,end,verb,noun; the latter holds the
official validation split, as the official test split has no labels), ``verbs.txt``, ``nouns.txt``, the official
``EPIC_100_tail_verbs.csv`` and ``EPIC_100_tail_nouns.csv``, and the videos.
"""

_base_ = ['./vggsound.py']

data_root = 'data/epic_kitchens'
num_classes = dict(_delete_=True, verb=97, noun=300)

# 16 frames over the whole segment, 2.6 s on average, and the audio of the same span, padded; of segments longer than a
# spectrogram, 10.24 s of both. The audio's statistics are VGGSound's: we know of none of EPIC-Kitchens, they are not
# yet measured. Yours: python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_epic_kitchens.py
load = dict(type='LoadClip', num_frames=16, short_side=256, window=10.24)
train_pipeline = [dict(**load, mode='random', num_views=2, same_window=True), *_base_.train_pipeline[1:]]
val_pipeline = [dict(**load, mode='uniform'), *_base_.val_pipeline[1:]]
test_pipeline = [dict(**load, mode='uniform', num_views=5), *_base_.test_pipeline[1:]]

__dataset = dict(data_root=data_root, classes=dict(_delete_=True, verb='verbs.txt', noun='nouns.txt'))
train_dataloader = dict(dataset=dict(**__dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**__dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(**__dataset, pipeline=test_pipeline))

val_evaluator = test_evaluator = dict(
    _delete_=True,
    type='ActionAccuracy',
    topk=(1, 5),
    data_root=data_root,
    tail_verbs='EPIC_100_tail_verbs.csv',
    tail_nouns='EPIC_100_tail_nouns.csv',
    # the official EPIC_100_unseen_participant_ids_validation.csv
    unseen_participants=('P18', 'P32'),
)
