"""The trainer that calls a function of the user's own."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from tests.training.trainers.conftest import MakeRequest

from infrastructure.errors import ConfigError, ExecutionError
from training.trainers.base import FitResult, Report
from training.trainers.registry import load_trainer

FRAME = pd.DataFrame({"x": [1, 2]})
FRAMES = {"train": FRAME, "valid": FRAME, "test": FRAME}


def by_name(params: Mapping[str, float], valid: pd.DataFrame, report: Report) -> dict[str, float]:
    """Name only some arguments."""
    report(1, {"score": 0.1})
    return {"score": params["a"] * len(valid), "test_score": 3}


def by_any_name(**arguments: object) -> dict[str, float]:
    """Take everything."""
    assert isinstance(arguments["output_dir"], Path)
    assert arguments["output_dir"].is_dir()
    return {"score": len(arguments)}


def seeded() -> dict[str, float]:
    """Draw from the global generators."""
    return {"score": random.random() + np.random.random()}


def saving(model_dir: Path | None) -> dict[str, float]:
    """Save a model where there is room for one."""
    if model_dir is not None:
        (model_dir / "weights").write_text("1")
    return {"score": 1.0}


def asking(other: int) -> dict[str, float]:
    """Ask for what there isn't."""
    return {"score": other}


def wrong_type() -> list[int]:
    """Return no mapping."""
    return [1]


def wrong_value() -> dict[str, str]:
    """Return no number."""
    return {"score": "high"}


def without_objective() -> dict[str, float]:
    """Return another metric."""
    return {"loss": 1.0}


@pytest.fixture(autouse=True)
def user_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this file's functions importable as a user's module is."""
    module = ModuleType("assay_test_functions")
    for function in (by_name, by_any_name, seeded, saving, asking, wrong_type, wrong_value, without_objective):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "assay_test_functions", module)


def run(
    make_request: MakeRequest,
    name: str,
    *,
    frames: dict[str, pd.DataFrame] | None = None,
    model_dir: Path | None = None,
    reports: list[int] | None = None,
) -> FitResult:
    """Train with one of this file's functions."""
    request = make_request(
        task="custom",
        train={"trainer": "function", "backbone": f"assay_test_functions:{name}"},
        frames=FRAMES if frames is None else frames,
        metric="score",
        params={"a": 2.5},
        model_dir=model_dir,
    )
    seen = [] if reports is None else reports
    return load_trainer("function").fit(request, lambda step, _: seen.append(step))


def test_arguments_are_given_by_name(make_request: MakeRequest) -> None:
    """A function gets what it names, reports its steps, and its test metrics are told by their prefix."""
    reports: list[int] = []
    assert run(make_request, "by_name", reports=reports) == FitResult({"score": 5.0}, {"score": 3.0})
    assert reports == [1]
    assert run(make_request, "by_any_name").valid == {"score": 9.0}


def test_global_generators_are_seeded(make_request: MakeRequest) -> None:
    """The same request gives the same random numbers."""
    assert run(make_request, "seeded") == run(make_request, "seeded")


def test_model_folder_is_there(make_request: MakeRequest, tmp_path: Path) -> None:
    """A function saves its model beside Assay's description of it."""
    run(make_request, "saving", model_dir=tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"weights", "assay_model.json"}


def test_objective_is_only_needed_where_it_is_measured(make_request: MakeRequest) -> None:
    """Without validation rows only test metrics count, unless the function has data of its own."""
    assert run(make_request, "without_objective", frames={"train": FRAME}) == FitResult()
    with pytest.raises(ExecutionError, match="didn't return the objective 'score'; it returned: loss"):
        run(make_request, "without_objective", frames={})


@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("asking", ConfigError, "asks for 'other'"),
        ("wrong_type", ExecutionError, "must return a mapping"),
        ("wrong_value", ExecutionError, "must return numbers by name, got 'score': 'high'"),
        ("without_objective", ExecutionError, "didn't return the objective"),
        ("missing", ConfigError, "has no 'missing'"),
    ],
)
def test_wrong_functions_are_refused(
    make_request: MakeRequest, name: str, error: type[Exception], expected: str
) -> None:
    """What a function asks for or returns wrongly is said in one line."""
    with pytest.raises(error, match=expected):
        run(make_request, name)
