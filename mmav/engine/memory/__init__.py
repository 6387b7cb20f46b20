"""What a training step needs of a GPU, counted without one, and plans that fit a budget."""
