"""The small MMT on AVSynth's match task, trained with modality dropout: half of the clips lose picture or sound.

    python tools/data/avsynth/make_avsynth.py data/avsynth_match --task match
    python tools/train.py configs/mmt/mmt_tiny_dropout_avsynth_match.py
    python tools/test.py configs/mmt/mmt_tiny_dropout_avsynth_match.py \
        work_dirs/mmt_tiny_dropout_avsynth_match/epoch_10.pth --drop audio

Hardware: 2 CPU cores. Expected: see configs/mmt/README.md, measured here.
"""

_base_ = ['./mmt_tiny_avsynth_match.py']

# one of the two from half of the clips, as AV-HuBERT (Shi et al. 2022) does
train_dataloader = dict(dataset=dict(modality_dropout=dict(video=0.25, audio=0.25)))
