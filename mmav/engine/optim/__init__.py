"""Optimizer wrappers, their constructors, and checks of schedules."""
