"""Calls a training function of the user's own."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from numbers import Real

import numpy as np

from infrastructure.config.schema.train import FunctionTrain
from infrastructure.errors import ConfigError, ExecutionError
from infrastructure.redaction import redacted
from infrastructure.storage.files import write_json_atomic
from training.trainers.base import FitRequest, FitResult, Report
from training.trainers.import_paths import import_object

DESCRIPTION_FILE = "assay_model.json"
TEST_PREFIX = "test_"


class FunctionTrainer:
    """Calls `module:callable` with those of its arguments that it names.

    They are `params`, `train`, `valid`, `test`, `report`, `seed`, `checkpoints`, `output_dir` and `model_dir`, all
    given to a function with `**kwargs`. It returns metrics of `valid` by name, and those of `test` with `test_` before
    the name. Python's and NumPy's global generators are seeded before it is called.
    """

    def fit(self, request: FitRequest, report: Report) -> FitResult:
        """Call the function and sort its metrics.

        Raises ConfigError for a function that asks for what isn't there, and ExecutionError for a result that isn't
        a mapping of names to numbers or lacks the objective.
        """
        config = request.config
        assert isinstance(config, FunctionTrain)
        function = import_object(config.backbone, "train.yaml backbone")
        if not callable(function):
            raise ConfigError([f"train.yaml backbone: {config.backbone!r} is not a function; name one"])
        arguments = _arguments(function, config.backbone, request, report)
        request.output_dir.mkdir(parents=True, exist_ok=True)
        if request.model_dir is not None:
            request.model_dir.mkdir(parents=True, exist_ok=True)
        random.seed(request.seed)
        np.random.seed(request.seed)
        metrics = _checked_metrics(function(**arguments), config.backbone)
        result = _sorted_metrics(metrics, request, config.backbone)
        if request.model_dir is not None:
            write_json_atomic(
                request.model_dir / DESCRIPTION_FILE,
                {"trainer": "function", "task": request.data.task, "predict": config.predict},
            )
        return result


def _arguments(
    function: Callable[..., object], backbone: str, request: FitRequest, report: Report
) -> dict[str, object]:
    """Choose the arguments that the function names."""
    available: dict[str, object] = {
        "params": dict(request.params),
        "train": request.train,
        "valid": request.valid,
        "test": request.test,
        "report": report,
        "seed": request.seed,
        "checkpoints": request.checkpoints,
        "output_dir": request.output_dir,
        "model_dir": request.model_dir,
    }
    parameters = inspect.signature(function).parameters.values()
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    for parameter in parameters:
        required = parameter.default is parameter.empty
        unknown = parameter.kind in by_name and parameter.name not in available
        if required and (unknown or parameter.kind is parameter.POSITIONAL_ONLY):
            raise ConfigError(
                [
                    f"train.yaml backbone: {backbone} asks for {parameter.name!r}; "
                    f"arguments are given by name, allowed: {', '.join(available)}"
                ]
            )
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return available
    return {name: value for name, value in available.items() if name in names}


def _checked_metrics(returned: object, backbone: str) -> dict[str, float]:
    if not isinstance(returned, Mapping):
        raise ExecutionError(
            f"{backbone} must return a mapping of metric names to numbers, got {redacted(repr(returned)):.60}"
        )
    for name, value in returned.items():
        if not isinstance(name, str) or not isinstance(value, Real) or isinstance(value, bool):
            raise ExecutionError(f"{backbone} must return numbers by name, got {name!r}: {redacted(repr(value)):.60}")
    return {name: float(value) for name, value in returned.items()}


def _sorted_metrics(metrics: Mapping[str, float], request: FitRequest, backbone: str) -> FitResult:
    """Tell validation from test metrics; without validation rows only data of the function's own has the former."""
    test = {name.removeprefix(TEST_PREFIX): value for name, value in metrics.items() if name.startswith(TEST_PREFIX)}
    if request.valid is None and request.train is not None:
        return FitResult(test=test)
    valid = {name: value for name, value in metrics.items() if not name.startswith(TEST_PREFIX)}
    if request.objective.metric not in valid:
        raise ExecutionError(
            f"{backbone} didn't return the objective {request.objective.metric!r}; "
            f"it returned: {', '.join(metrics) or 'nothing'}"
        )
    return FitResult(valid=valid, test=test)
