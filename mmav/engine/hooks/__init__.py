"""Hooks that MMEngine lacks, and subclasses of its hooks under the same names; importing this registers them."""

from mmav.engine.hooks import (
    broken_clips,
    checkpoint,
    checkpoint_averaging,
    ema,
    gradient_blending,
    mmpareto,
    non_finite,
    ogm_ge,
    progressive_unfreeze,
    resume_point,
    runtime_info,
    seed,
    throughput,
)

__all__ = [
    'broken_clips',
    'checkpoint',
    'checkpoint_averaging',
    'ema',
    'gradient_blending',
    'mmpareto',
    'non_finite',
    'ogm_ge',
    'progressive_unfreeze',
    'resume_point',
    'runtime_info',
    'seed',
    'throughput',
]
