"""AudioSet (Gemmeke et al. 2017): 10 s clips with one or more of 527 labels; frames and augmentation are VGGSound's.

Trains on both training lists (AS-2M), from which clips of rare classes are drawn more often. Expects in ``data_root``:
``train.csv`` and ``test.csv`` (columns path,label, several labels separated by |), ``classes.txt`` in the order of the
official indices, and the clips: tools/data/audioset/README.md.
"""

_base_ = ['./vggsound.py']

data_root = 'data/audioset'
num_classes = 527

# Statistics of AudioSet's log-mels as used by AST (Gong et al. 2021, YuanGongND/ast, egs/audioset/run.sh), which
# divides by twice the standard deviation. CAV-MAE takes the base's also here. Of your copy of the clips:
# python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_audioset.py
norm = dict(audio=dict(mean=-4.2677393, std=2 * 4.5689974))

# MBT's mixup on AudioSet, which does not cut (google-research/scenic, projects/mbt, balanced_audioset_base.py); AST and
# CAV-MAE mix, too, and do not cut
batch_augment = dict(num_classes=num_classes, mixup_alpha=0.5, cutmix_alpha=0.0)

__dataset = dict(data_root=data_root, multi_label=True)
# AST's drawing (YuanGongND/ast, egs/audioset/gen_weight_file.py), which CAV-MAE has, too
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler'), dataset=__dataset)
val_dataloader = test_dataloader = dict(dataset=__dataset)

# mAP is the published figure; of the test clips that are there, so say how many
val_evaluator = test_evaluator = dict(_delete_=True, type='MultiLabelMetric')
