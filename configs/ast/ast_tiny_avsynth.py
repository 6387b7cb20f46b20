"""A small AST alone on AVSynth, the 16-class task, which audio alone cannot solve.

Train: python tools/train.py configs/ast/ast_tiny_avsynth.py
Expected: top-1 0.249 ± 0.024 after 4 epochs in batches of 16 (measured here, 3 seeds). Hardware: 2 CPU cores.
"""

_base_ = ['../mat/mat_tiny_avsynth.py', '../_base_/variants_tiny.py']
model = _base_.pop('variants').ast
