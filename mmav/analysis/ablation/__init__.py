"""Ablations: rows of experiments over several seeds, run, gathered and compared."""
