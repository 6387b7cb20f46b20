"""Audio alone, AST (Gong et al. 2021) on both training lists of AudioSet (AS-2M), with its authors' recipe.

The values are those of YuanGongND/ast, egs/audioset/run.sh, ``set=full``; docs/recipes.md names each option.

Train: tools/dist_train.sh configs/ast/ast_recipe_audioset.py 4
Expected: not yet run here. Hardware: 4 GPUs of 40 GB.
"""

_base_ = ['./ast_recipe_audioset20k.py']

max_epochs = 5

train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler'), dataset=dict(ann_file='train.csv'))
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = [_base_.param_scheduler[0], dict(type='MultiStepLR', milestones=[2, 3, 4], gamma=0.5)]
train_cfg = dict(max_epochs=max_epochs)
custom_hooks = [dict(type='CheckpointAveragingHook', begin=1, end=5)]
