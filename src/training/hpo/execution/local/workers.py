"""The executor of trainings on this machine: processes forked from a parent that knows the trainer."""

from __future__ import annotations

from collections.abc import Mapping

from infrastructure.errors import OutputError
from infrastructure.executors.base import Executor, OnReport, OnRetry
from infrastructure.executors.local import LocalExecutor
from training.execution.mlflow_setup import worker_environment
from training.execution.preload import preloaded_modules
from training.execution.result import TrainingResult, read_result
from training.execution.task import TrainingTask
from training.hpo.execution.progress import Progress


def make_executor(
    workers: int,
    trainer: str,
    on_report: OnReport,
    on_retry: OnRetry,
    environment: Mapping[str, str] | None = None,
) -> Executor:
    """Return an executor for folds and trainings, `workers` at a time; by default they know the tracking store."""
    modules = preloaded_modules(trainer)
    return LocalExecutor(workers, on_report, on_retry, environment or worker_environment(), modules)


def train_alone(
    task: TrainingTask, progress: Progress, environment: Mapping[str, str] | None = None
) -> tuple[TrainingResult | None, str]:
    """Run one training that nothing prunes, and return its result, or None and why there is none.

    Raises OutputError if its disk is full.
    """

    def tell(_: str, cause: str) -> None:
        progress.message(f"{cause}; it is begun again")

    with make_executor(1, task.train.trainer, lambda *_: False, tell, environment) as executor:
        executor.submit(task.as_task())
        (outcome,) = executor.wait()
    if outcome.has_no_room:
        raise OutputError(f"no room in {task.folder}: {outcome.message}; make room, and give the same command again")
    result = read_result(task.paths.result, task.key_hash) if outcome.state == "done" else None
    return result, outcome.message or f"no result at {task.paths.result}"
