"""Timing beside peers and beside the machine's peak."""
