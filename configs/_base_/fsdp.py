"""Parameters, gradients and optimizer state spread over the processes (FSDP), for models too large for one GPU.

Add it to the bases and start several processes: ``tools/dist_train.sh CONFIG 8``. Checkpoints are whole: any other run
can load them. Not yet run on GPUs.
"""

fsdp = True
