"""Export of trained models for use without mmav."""
