"""The executor of a project: as many processes as `hpo.workers`, forked from a parent that knows the trainer."""

from __future__ import annotations

from infrastructure.executors.base import Executor, OnReport
from infrastructure.executors.local import LocalExecutor
from training.execution.mlflow_setup import worker_environment
from training.execution.task import RUN_FUNCTION
from training.hpo.execution.project import Project
from training.trainers.registry import trainer_module


def make_executor(project: Project, on_report: OnReport) -> Executor:
    """Return an executor for the folds and trainings of a project."""
    preload = (RUN_FUNCTION.partition(":")[0], trainer_module(project.config.train.trainer))
    return LocalExecutor(project.config.hpo.workers, on_report, worker_environment(), preload)
