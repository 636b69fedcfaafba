"""One training as a task: what a worker process is given, and what it does."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, JsonValue
from threadpoolctl import ThreadpoolController

from infrastructure.config.schema import DataConfig, TrainConfig
from infrastructure.config.schema.hpo import Objective
from infrastructure.config.schema.train import TransformersTrain
from infrastructure.errors import ExecutionError, has_no_room
from infrastructure.executors.base import Task, TaskReport
from infrastructure.paths.layout import TaskPaths
from infrastructure.storage.files import write_bytes_atomic
from training.data.datasets import Dataset, load_dataset
from training.data.folds import fold_frames, read_folds
from training.execution.checkpoints import TaskCheckpoints
from training.execution.preload import RUN_FUNCTION
from training.execution.result import TrainingResult
from training.trainers.backbones import resolve_backbone
from training.trainers.base import FitRequest
from training.trainers.predictors import load_predict, predictor_of, questions
from training.trainers.registry import load_trainer

METRIC_NAME: Final = re.compile(r"(?!/)[\w\-. :/]{1,200}", re.ASCII)
EXAMPLE_ROWS: Final = 3


class TrainingTask(BaseModel):
    """One training, as JSON for a worker.

    With `fold_idx` it learns from that fold's training rows and is evaluated on its validation rows. Without, it
    learns from the whole training split (and the validation split too if `include_validation`), and is evaluated on
    the test split; only then a model is saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    key_hash: str
    root_dir: Path
    folder: Path
    data: DataConfig
    train: TrainConfig
    objective: Objective
    params: dict[str, JsonValue]
    folds_file: Path
    fold_idx: int | None = None
    include_validation: bool = False

    @property
    def paths(self) -> TaskPaths:
        """The files of this training."""
        return TaskPaths(self.folder)

    def as_task(self) -> Task:
        """Return the task for an executor."""
        payload = self.model_dump(mode="json")
        return Task(self.task_id, RUN_FUNCTION, payload, self.folder, self.train.max_retries)

    @classmethod
    def from_payload(cls, payload: Mapping[str, JsonValue]) -> Self:
        """Return the task that `as_task` made."""
        return cls.model_validate(payload)


def run_training_task(payload: Mapping[str, JsonValue], report: TaskReport) -> None:
    """Train as the payload says, and write the result file; runs in a worker process."""
    task = TrainingTask.from_payload(payload)
    sys.path.insert(0, str(task.root_dir))  # the user's own estimators and functions
    with TaskCheckpoints(task.paths.checkpoints, task.key_hash, task.train.checkpoint_interval) as checkpoints:
        try:
            result = _train(task, checkpoints, report)
        except Exception as error:  # it failed or was stopped, and is gone on with only if it comes of a full disk
            if not has_no_room(error):
                checkpoints.delete()
            raise
        result.write(task.paths.result)
        checkpoints.delete()


def _train(task: TrainingTask, checkpoints: TaskCheckpoints, report: TaskReport) -> TrainingResult:
    curve = checkpoints.done.curve
    for step, metrics in sorted(curve.items()):
        report(step, metrics)  # of before it was cut short; a driver that has heard it takes no notice

    def keep_and_report(step: int, metrics: Mapping[str, float]) -> None:
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ExecutionError(f"report() takes whole steps from 1, got {step!r}")
        curve[step] = _checked(metrics)
        report(step, curve[step])

    request = _request(task, checkpoints)
    with _thread_pools(len(sys.modules)).limit(limits=task.train.threads):
        fitted = load_trainer(task.train.trainer).fit(request, keep_and_report)
    if request.model_dir is not None:
        _write_example(task, request.model_dir, request.train)
    return TrainingResult(
        key_hash=task.key_hash,
        valid=_checked(fitted.valid),
        test=_checked(fitted.test),
        curve=curve,
        seconds=checkpoints.seconds,
        device=fitted.device,
    )


@functools.lru_cache(maxsize=1)
def _thread_pools(module_count: int) -> ThreadpoolController:  # noqa: ARG001  what is loaded changes with it alone
    """Return the thread pools of the native libraries that this process has loaded; to look for them takes 3 ms."""
    return ThreadpoolController()


def _checked(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics as plain floats under names that MLflow keeps; raise ExecutionError here, in the worker."""
    plain: dict[str, float] = {}
    for name, value in metrics.items():
        if not METRIC_NAME.fullmatch(str(name)):
            raise ExecutionError(f"metric name {name!r}: allowed are letters, digits, spaces and _ - . / :")
        try:
            plain[str(name)] = float(value)
        except (TypeError, ValueError) as error:
            raise ExecutionError(f"metric {name} is {value!r}; a number is needed") from error
    return plain


def _request(task: TrainingTask, checkpoints: TaskCheckpoints) -> FitRequest:
    dataset = load_dataset(task.data, task.root_dir)
    train, valid, test = _frames(task, dataset)
    task.paths.work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(task.paths.model, ignore_errors=True)  # what a killed process left there would go into the model
    config = task.train
    if isinstance(config, TransformersTrain):
        config = config.model_copy(update={"backbone": resolve_backbone(config.backbone, task.root_dir)})
    return FitRequest(
        data=task.data,
        config=config,
        params={**task.train.model_dump(mode="json")["params"], **task.params},
        objective=task.objective,
        train=train,
        valid=valid,
        test=test,
        seed=task.train.seed,
        output_dir=task.paths.work,
        checkpoints=checkpoints,
        model_dir=task.paths.model if task.fold_idx is None else None,
    )


def _frames(
    task: TrainingTask, dataset: Dataset
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None]:
    if dataset.train is None:
        return None, None, None
    if task.fold_idx is not None:
        train, valid = fold_frames(read_folds(task.folds_file)[task.fold_idx], dataset)
        return train, valid, None
    if task.include_validation and dataset.validation is not None:
        return pd.concat([dataset.train, dataset.validation], ignore_index=True), None, dataset.test
    return dataset.train, dataset.validation, dataset.test


def _write_example(task: TrainingTask, model_dir: Path, train: pd.DataFrame | None) -> None:
    """Ask the saved model about a few rows, so that it is known to work, and keep question and answer."""
    predictor = predictor_of(task.train, task.root_dir)
    if predictor is None or train is None:
        return
    example = questions(task.data, train.head(EXAMPLE_ROWS))
    answer = load_predict(predictor)(model_dir, example)
    shown = {"input": example.to_dict(orient="records"), "output": answer.to_dict(orient="records")}
    write_bytes_atomic(task.paths.example, json.dumps(shown, default=_plain).encode())


def _plain(value: Any) -> JsonValue:  # noqa: ANN401  NumPy's scalars and arrays
    plain: JsonValue = value.tolist()
    return plain
