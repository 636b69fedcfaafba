"""The executor of trainings on this machine: processes forked from a parent that knows the trainer."""

from __future__ import annotations

from collections.abc import Mapping

from infrastructure.executors.base import Executor, OnReport
from infrastructure.executors.local import LocalExecutor
from training.execution.mlflow_setup import worker_environment
from training.execution.task import RUN_FUNCTION
from training.trainers.registry import trainer_module


def make_executor(
    workers: int, trainer: str, on_report: OnReport, environment: Mapping[str, str] | None = None
) -> Executor:
    """Return an executor for folds and trainings, `workers` at a time; by default they know the tracking store."""
    preload = (RUN_FUNCTION.partition(":")[0], trainer_module(trainer))
    return LocalExecutor(workers, on_report, environment or worker_environment(), preload)
