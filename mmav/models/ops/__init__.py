"""Operators: the forms of attention, and tiled operators for CPUs."""
