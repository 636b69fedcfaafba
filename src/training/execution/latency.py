"""How fast a trained model predicts, measured in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue
from threadpoolctl import threadpool_limits

from infrastructure.config.schema import DataConfig, TrainConfig
from infrastructure.config.schema.hpo import Latency
from infrastructure.executors.base import Task, TaskReport
from infrastructure.paths.layout import TaskPaths
from infrastructure.storage.files import write_json_atomic
from training.data.datasets import load_dataset
from training.trainers.predictors import load_predict, predictor_of, questions

FUNCTION: Final = "training.execution.latency:measure_latency"
WARM_UP: Final = 3
"""Calls before those that are timed: the first ones load the model and what it needs."""


class LatencyTask(BaseModel):
    """The measurement of one model's latency, as JSON for a worker; `folder` takes its result and its log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    root_dir: Path
    data: DataConfig
    train: TrainConfig
    latency: Latency
    model_dir: Path
    folder: Path

    @property
    def paths(self) -> TaskPaths:
        """The files of this measurement."""
        return TaskPaths(self.folder)

    def as_task(self) -> Task:
        """Return the task for an executor."""
        return Task(self.task_id, FUNCTION, self.model_dump(mode="json"), self.folder, self.train.max_retries)

    def seconds(self) -> float:
        """Return what was measured, in seconds an example, once the task is done."""
        return float(json.loads(self.paths.result.read_text()))


def measure_latency(payload: Mapping[str, JsonValue], report: TaskReport) -> None:  # noqa: ARG001  TaskFunction
    """Ask the model again and again, as whoever serves it would, and write the median seconds an example."""
    task = LatencyTask.model_validate(payload)
    sys.path.insert(0, str(task.root_dir))  # the user's own predict function
    predictor = predictor_of(task.train, task.root_dir)
    assert predictor is not None, "a project with a selection has a predictor"
    predict = load_predict(predictor)
    dataset = load_dataset(task.data, task.root_dir)
    rows = next(rows for rows in (dataset.test, dataset.validation, dataset.train) if rows is not None)
    asked, size, seconds = questions(task.data, rows), task.latency.batch_size, list[float]()
    with threadpool_limits(limits=task.train.threads):
        for call in range(-WARM_UP, task.latency.calls):
            positions = [(call * size + index) % len(asked) for index in range(size)]
            batch = asked.iloc[positions].reset_index(drop=True)
            started = time.perf_counter()
            predict(task.model_dir, batch)
            if call >= 0:
                seconds.append(time.perf_counter() - started)
    write_json_atomic(task.paths.result, median(seconds) / size)
