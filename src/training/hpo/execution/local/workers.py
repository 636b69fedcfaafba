"""The executor of trainings: processes forked from a parent that knows the trainer, here or on a Ray cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial

from infrastructure.errors import MissingExtraError, OutputError
from infrastructure.executors.base import Executor, OnReport, OnRetry, Task, TaskOutcome
from infrastructure.executors.local import LocalExecutor
from training.execution.inputs import training_inputs
from training.execution.mlflow_setup import worker_environment
from training.execution.preload import preloaded_modules
from training.execution.result import TrainingResult, read_result
from training.execution.task import TrainingTask
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import Project

MakeExecutor = Callable[[OnReport, OnRetry], Executor]


def make_executor(project: Project, workers: int, on_report: OnReport, on_retry: OnRetry) -> Executor:
    """Return the executor of a project's folds and trainings, `workers` at a time.

    Those on this machine know the tracking store. Raises MissingExtraError for Ray that isn't installed, and
    ExecutionError if its cluster doesn't answer.
    """
    config = project.config
    modules = preloaded_modules(config.train.trainer)
    if config.executor.type == "local":
        return LocalExecutor(workers, on_report, on_retry, worker_environment(), modules)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("executor.type: ray", "ray", "ray")
    from infrastructure.executors.ray import RayExecutor, Resources  # noqa: PLC0415  an extra

    return RayExecutor(
        workers,
        on_report,
        on_retry,
        config.executor.ray_address,
        Resources(**config.executor.resources.model_dump()),
        partial(training_inputs, config, project.paths.folds),
        modules,
    )


def executor_here(trainer: str, environment: Mapping[str, str] | None = None) -> MakeExecutor:
    """Return what makes an executor of this machine for one task at a time; by default it knows the tracking store."""
    environment = environment or worker_environment()
    return partial(LocalExecutor, 1, environment=environment, preload=preloaded_modules(trainer))


def train_alone(task: TrainingTask, make: MakeExecutor, progress: Progress) -> tuple[TrainingResult | None, str]:
    """Run one training that nothing prunes, and return its result, or None and why there is none.

    Raises OutputError if its disk is full.
    """
    outcome = run_alone(task.as_task(), make, progress)
    result = read_result(task.paths.result, task.key_hash) if outcome.state == "done" else None
    return result, outcome.message or f"no result at {task.paths.result}"


def run_alone(task: Task, make: MakeExecutor, progress: Progress) -> TaskOutcome:
    """Run one task in a process of its own, with nothing beside it. Raises OutputError if its disk is full."""

    def tell(_: str, cause: str) -> None:
        progress.message(f"{cause}; it is begun again")

    with make(lambda *_: False, tell) as executor:
        executor.submit(task)
        (outcome,) = executor.wait()
    if outcome.has_no_room:
        raise OutputError(f"no room in {task.folder}: {outcome.message}; make room, and give the same command again")
    return outcome
