"""Audio alone, AST (Gong et al. 2021), VGGSound, with the schedule of the other models.

Train: tools/dist_train.sh configs/ast/ast_base_vggsound.py 8
Expected: top-1 52.3 (paper, Table 2, MBT (AST)); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mat/mat_base_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').ast
optim_wrapper = dict(paramwise_cfg=dict(token_decay_mult=0.0))
