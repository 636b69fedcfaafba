"""Trainings as runs, and as work of one process."""
