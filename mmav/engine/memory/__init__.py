"""The GPU memory that a training step needs, counted without a GPU, and plans that fit a budget."""
