"""What a model uses of two modalities: tested with both, each alone, and both shuffled against each other."""
