"""What the trainers' tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import TypeAdapter
from tests.training.trainers.tiny import make_tiny_backbone

from infrastructure.config.schema import DataConfig, TrainConfig
from infrastructure.config.schema.hpo import Direction, Objective
from training.execution.checkpoints import TaskCheckpoints
from training.trainers.base import FitRequest

MakeRequest = Callable[..., FitRequest]


@pytest.fixture
def make_request(tmp_path: Path) -> MakeRequest:
    """Return a function that makes a request from plain mappings."""

    def make(
        *,
        task: str,
        train: dict[str, object],
        frames: dict[str, pd.DataFrame],
        metric: str,
        params: dict[str, object] | None = None,
        direction: Direction = "maximize",
        data: dict[str, object] | None = None,
        model_dir: Path | None = None,
        seed: int = 1,
        checkpoints: TaskCheckpoints | None = None,
    ) -> FitRequest:
        config: TrainConfig = TypeAdapter(TrainConfig).validate_python(train)
        return FitRequest(
            data=DataConfig.model_validate({"task": task, "path": "data", **(data or {})}),
            config=config,
            params=TypeAdapter(dict).validate_python(params or {}),
            objective=Objective(metric=metric, direction=direction),
            train=frames.get("train"),
            valid=frames.get("valid"),
            test=frames.get("test"),
            seed=seed,
            output_dir=tmp_path / "work",
            checkpoints=checkpoints or TaskCheckpoints(tmp_path / "checkpoints", "key", 600.0),
            model_dir=model_dir,
        )

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a backbone of one small layer with MiniLM's tokenizer."""
    return make_tiny_backbone(tmp_path_factory.mktemp("tiny"))
