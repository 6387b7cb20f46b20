"""Several processes: the process group, and parameters spread over it."""
