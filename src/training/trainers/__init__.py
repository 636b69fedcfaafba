"""Trainers: one protocol, one registry; they know nothing of tracking or of Optuna."""
