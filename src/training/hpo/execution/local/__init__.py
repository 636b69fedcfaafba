"""Sweeps, cross-validation and refits driven from this machine."""
