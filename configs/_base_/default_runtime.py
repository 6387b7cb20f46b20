"""What every experiment runs with: hooks, log, seed. An experiment changes single entries, e.g.
``default_hooks = dict(checkpoint=dict(interval=5))``.
"""

default_scope = 'mmav'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    seed=dict(type='SeedHook'),
    timer=dict(type='IterTimerHook'),
    throughput=dict(type='ThroughputHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    broken_clips=dict(type='BrokenClipHook'),
    non_finite=dict(type='NonFiniteHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
    # in mid-epoch, and when the machine is taken away
    resume_point=dict(type='ResumePointHook', interval=1000),
)

# half types on a GPU, and TF32 in what stays float32; a CPU computes in float32, and evaluation always
precision = dict(amp='auto', eval_amp='none', tf32=True)

env_cfg = dict(
    # times cuDNN's kernels once for each shape, and shapes are fixed
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # used on GPUs; processes without one join a gloo group by themselves
    dist_cfg=dict(backend='nccl'),
)

log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])

randomness = dict(seed=0)
load_from = None
resume = False
