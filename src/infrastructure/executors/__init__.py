"""Executors: where a task runs; they know nothing of what it does."""
