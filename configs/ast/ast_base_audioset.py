"""Audio alone, AST (Gong et al. 2021), with the schedule of the other models, AudioSet's two training lists (AS-2M).

Train: tools/dist_train.sh configs/ast/ast_base_audioset.py 8
Expected: not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['../mat/mat_base_audioset.py', '../_base_/variants.py']
model = _base_.pop('variants').ast
optim_wrapper = dict(paramwise_cfg=dict(token_decay_mult=0.0))
