"""What a process that trains has imported before its first task."""

from __future__ import annotations

from typing import Final

from training.trainers.registry import trainer_module

RUN_FUNCTION: Final = "training.execution.task:run_training_task"


def preloaded_modules(trainer: str) -> tuple[str, ...]:
    """Return the modules that all trainings with a trainer need."""
    return (RUN_FUNCTION.partition(":")[0], trainer_module(trainer))
