"""Several processes: the process group, and parameters sharded over it."""
