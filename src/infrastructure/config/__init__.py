"""Typed configuration models and the only YAML reader."""
