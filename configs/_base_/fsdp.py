"""Parameters, gradients and optimizer state spread over the processes (FSDP), for models too large for one GPU.

Add it to the bases and start several processes: ``tools/dist_train.sh CONFIG 8``. Not yet run on GPUs, and nothing is
saved or resumed yet: docs/training.md tells what works.
"""

model_wrapper_cfg = dict(type='MMFullyShardedDataParallel', auto_wrap_policy='mmav.wrap_blocks', use_orig_params=True)
