"""Sound alone, AST (Gong et al. 2021), EPIC-Kitchens-100, with the schedule of the other models.

    tools/dist_train.sh configs/ast/ast_base_epic_kitchens.py 8
    tools/dist_test.sh configs/ast/ast_base_epic_kitchens.py work_dirs/ast_base_epic_kitchens/epoch_100.pth 8

Hardware: 8 GPUs of 40 GB, 8 clips of 2 views each. Expected: top-1 action 13.0 (paper, "MBT (AST)", quoted from MBT's
paper). Not yet run here.
"""

_base_ = ['../mat/mat_base_epic_kitchens.py']

# DeiT's ImageNet weights, which AST starts from (YuanGongND/ast, src/models/ast_models.py, 'base384')
deit = dict(type='PublicWeights', checkpoint='deit_b_distilled_384_in1k')
model = dict(
    backbones=dict(audio=dict(_delete_=True, type='AST', input_size=(128, 1024), init_cfg=deit)),
    head=dict(dropout=0.0),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.undecayed_tokens))
