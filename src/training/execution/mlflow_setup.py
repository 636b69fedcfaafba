"""Runs of trainings: created, resumed, linked, finished and failed (spec: Layer 2, `create_training_mlflow_run`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite

from infrastructure.errors import OutputError, TrackingError, printable
from infrastructure.naming import tags as tag_keys
from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.runs import MetricPoint, Run, RunContent, RunStatus
from training.execution.result import TrainingResult


def create_training_mlflow_run(
    experiment_name: str,
    run_name: str,
    tags: Mapping[str, str] | None = None,
    parent_run_id: str | None = None,
    run_id: str | None = None,
    trial_number: int | None = None,
    fold_idx: int | None = None,
) -> tuple[str, Run]:
    """Create a run below `parent_run_id`, or take up the run `run_id` again, and return its id and the run.

    The run is live until `complete_training_run` or `fail_training_run`. Raises MlflowNotConfiguredError before
    `setup_mlflow()`, RunNotFoundError for a `run_id` that the store doesn't have, and TrackingError for an empty name.
    """
    if not run_name.strip():
        raise TrackingError("a run needs a name: run_name is empty, and MLflow would make up a random one")
    numbers = {tag_keys.TRIAL_NUMBER: trial_number, tag_keys.FOLD_INDEX: fold_idx}
    all_tags = {**(tags or {}), **{key: str(value) for key, value in numbers.items() if value is not None}}
    if run_id is None:
        run = runs.create_run(experiment_name, run_name, all_tags, parent_run_id)
    else:
        nested = {tag_keys.PARENT_RUN: parent_run_id} if parent_run_id else {}
        runs.reopen_run(run_id)
        runs.write_run(run_id, RunContent(tags={**all_tags, **nested}))
        run = runs.reopen_run(run_id)
    return run.info.run_id, run


def complete_training_run(
    run_id: str, result: TrainingResult, params: Mapping[str, object], tags: Mapping[str, str] | None = None
) -> None:
    """Write what came of a training, then that it is done."""
    runs.complete_run(run_id, training_content(result, params, tags))


def training_content(
    result: TrainingResult, params: Mapping[str, object], tags: Mapping[str, str] | None = None
) -> RunContent:
    """Return what a run keeps of a training."""
    all_tags = {tag_keys.DEVICE: result.device, **(tags or {})}
    return RunContent(params_as_text(params), metric_points(result), all_tags)


def fail_training_run(run_id: str, reason: str, status: RunStatus = "FAILED") -> None:
    """End a run whose training came to nothing, with the reason as a tag; it isn't done and can be taken up again."""
    runs.write_run(run_id, failure_content(reason))
    runs.end_run(run_id, status)


def failure_content(reason: str) -> RunContent:
    """Return what a run keeps of a training that came to nothing; without a reason, nothing."""
    return RunContent(tags={tag_keys.FAILURE: printable(reason)[: tag_keys.CHUNK]} if reason else {})


def params_as_text(params: Mapping[str, object]) -> dict[str, str]:
    """Return hyperparameters as MLflow keeps them: texts, floats to the last bit."""
    return {name: repr(value) if isinstance(value, float) else str(value) for name, value in params.items()}


def metric_points(result: TrainingResult) -> list[MetricPoint]:
    """Return a training's metrics as `valid_…`, `test_…`, and `epoch_…` by step; MLflow can't keep infinities."""
    points = [MetricPoint(f"valid_{name}", value) for name, value in result.valid.items()]
    points += [MetricPoint(f"test_{name}", value) for name, value in result.test.items()]
    points.append(MetricPoint("seconds", result.seconds))
    for step, metrics in result.curve.items():
        points += [MetricPoint(f"epoch_{name}", value, step) for name, value in metrics.items()]
    return [point for point in points if isfinite(point.value)]


def worker_environment(tracking_uri: str | None = None) -> dict[str, str]:
    """Return the environment for a training's process: the store is named, and no run of another is inherited.

    With `tracking_uri` it is a store other than the configured one.
    """
    return runs.worker_environment(os.environ, tracking_uri)


@contextmanager
def ended_on_error() -> Iterator[None]:
    """End every live run as KILLED if what happens inside raises, whatever it is, so that none stays RUNNING.

    Raises OutputError for a file that can't be written.
    """
    try:
        yield
    except BaseException as error:
        runs.end_live_runs("KILLED")
        if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno is not None:
            raise OutputError(
                f"{error.filename or 'a file'} can't be written or read: {error.strerror}; see that there is room and "
                "that it may be written to, and give the same command again"
            ) from error
        raise
