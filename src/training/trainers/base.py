"""The contract that every trainer keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
from pydantic import JsonValue

from infrastructure.config.schema import DataConfig, TrainConfig
from infrastructure.config.schema.hpo import Objective

Report = Callable[[int, Mapping[str, float]], None]
"""Called by a trainer after each epoch (or whatever its steps are, counted from 1) with the metrics of `valid`.

Raises an exception when the training is to stop here; a trainer lets it pass.
"""


class Checkpoints(Protocol):
    """Where a training saves what it would go on from if it were cut short.

    A trainer that can go on in the middle calls `restore` once, and asks after each of its steps whether one `is_due`:
    now and then, and at once when the process is to end. One that can't ignores them.
    """

    def restore(self) -> Path | None:
        """Return the folder that the training goes on from, or None at its beginning; the trainer reads it only."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""

    def save(self, write: Callable[[Path], object]) -> None:
        """Let `write` fill a folder; raises an exception when the process is to end, which a trainer lets pass."""


@dataclass(frozen=True)
class FitRequest:
    """One training, with everything that decides its result.

    `params` are the fixed and the sampled hyperparameters together. `valid` is what the objective is measured on
    during and after training, `test` is looked at once, after it; each is absent when there is none. `train` is
    absent only for data that the user's own function reads. A model is saved to `model_dir` when one is given.
    """

    data: DataConfig
    config: TrainConfig
    params: Mapping[str, JsonValue]
    objective: Objective
    train: pd.DataFrame | None
    valid: pd.DataFrame | None
    test: pd.DataFrame | None
    seed: int
    output_dir: Path
    checkpoints: Checkpoints
    model_dir: Path | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics to compute, the objective first."""
        extra = (name for name in self.config.metrics if name != self.objective.metric)
        return (self.objective.metric, *extra)


@dataclass(frozen=True)
class FitResult:
    """What came of a training on a `device`: metrics by name on the validation rows and on the test rows."""

    valid: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"


class Trainer(Protocol):
    """Fits one backbone with one set of hyperparameters.

    A trainer is seeded by the request alone: the same request gives the same result on the same CPU software with
    one thread. It owns `request.output_dir` while it runs and writes nowhere else, `request.model_dir` excepted.
    """

    def fit(self, request: FitRequest, report: Report) -> FitResult:
        """Train, evaluate, and save the model if the request asks for it.

        Raises DataError for rows that the trainer can't use, and whatever the framework raises for its own faults.
        """
        ...
