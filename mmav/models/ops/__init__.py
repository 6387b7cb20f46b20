"""Operators: attention in its forms, and what is computed in tiles on a CPU."""
