"""Hooks that MMEngine lacks, or that stand in for its own of the same name."""
