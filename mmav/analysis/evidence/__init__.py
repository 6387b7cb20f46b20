"""A report on rows that were run over several seeds: which of their differences stand, and which cannot be told."""
