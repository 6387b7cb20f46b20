"""Trained models for use without mmav."""
