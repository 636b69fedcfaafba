"""Fits a scikit-learn estimator or pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
import skops.io
from pydantic import JsonValue
from threadpoolctl import threadpool_limits

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.train import SklearnTrain
from infrastructure.errors import ConfigError, DataError
from infrastructure.storage.files import write_bytes_atomic, write_json_atomic
from training.data.datasets import label_text, label_texts
from training.metric_names import METRICS
from training.metrics import compute
from training.trainers.base import FitRequest, FitResult, Report
from training.trainers.import_paths import import_object
from training.trainers.registry import unknown_names

MODEL_FILE = "model.skops"
DESCRIPTION_FILE = "assay_model.json"
TASKS = ("classification", "regression", "text_classification")

Features = pd.DataFrame | np.ndarray


class Estimator(Protocol):
    """What is asked of an estimator: scikit-learn's own protocol."""

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the parameters by name, nested ones as `step__name`."""
        ...

    def set_params(self, **params: object) -> object:
        """Set parameters by name."""
        ...

    def fit(self, X: Features, y: np.ndarray) -> object:  # noqa: N803  # scikit-learn's names
        """Learn."""
        ...

    def predict(self, X: Features) -> np.ndarray:  # noqa: N803
        """Predict one value for each row."""
        ...


class SklearnTrainer:
    """Fits the estimator of `train.yaml`; it has no epochs, so nothing is reported before the end.

    Tabular rows come as a data frame of `feature_columns`, by default all but the label; for text classification
    the estimator gets the texts, so it begins with a vectorizer. Every `random_state` that the hyperparameters leave
    open is set to the request's seed.
    """

    def fit(self, request: FitRequest, report: Report) -> FitResult:  # noqa: ARG002  # there are no epochs
        """Train, evaluate, and save the model with skops if the request asks for it.

        Raises ConfigError for an estimator, hyperparameter or metric that can't be used, and for a model that
        has types which `trusted_types` doesn't list.
        """
        config = request.config
        assert isinstance(config, SklearnTrain)
        if request.data.task not in TASKS:
            raise ConfigError(
                [f"train.yaml trainer: sklearn can't do task {request.data.task}; allowed: {', '.join(TASKS)}"]
            )
        if request.train is None:
            raise DataError("data.yaml path: trainer sklearn needs rows to learn from; give the data's path")
        estimator = make_estimator(config.backbone)
        _set_params(estimator, request.params, request.seed)
        with threadpool_limits(config.threads):
            estimator.fit(_features(request.train, request.data), request.train[request.data.label_column].to_numpy())
            result = FitResult(
                valid=_evaluate(estimator, request, request.valid),
                test=_evaluate(estimator, request, request.test),
            )
        if request.model_dir is not None:
            _save(estimator, request, config, request.model_dir)
        return result


def make_estimator(backbone: str) -> Estimator:
    """Make the estimator of an import path: a class, or a callable without arguments that returns one."""
    factory = import_object(backbone, "train.yaml backbone")
    if not callable(factory):
        raise ConfigError([f"train.yaml backbone: {backbone!r} is no class or function; name one"])
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ConfigError(
            [f"train.yaml backbone: {backbone!r} needs arguments ({error}); name a function without any"]
        ) from error
    estimator = factory()
    lacking = [name for name in ("fit", "predict", "get_params", "set_params") if not hasattr(estimator, name)]
    if lacking:
        raise ConfigError([f"train.yaml backbone: {backbone!r} makes no estimator; it has no {', '.join(lacking)}"])
    return cast("Estimator", estimator)


def check_estimator(config: SklearnTrain, names: Collection[str]) -> list[str]:
    """Return what is wrong with a search space's names and fixed params, and what skops wouldn't save, a line each."""
    estimator = make_estimator(config.backbone)
    allowed = estimator.get_params()
    return [
        *unknown_names("search_space", names, allowed),
        *unknown_names("params", config.params, allowed),
        *_untrusted(_skops_types(skops.io.dumps(estimator)), config),
    ]


def _set_params(estimator: Estimator, params: Mapping[str, JsonValue], seed: int) -> None:
    allowed = estimator.get_params()
    if problems := unknown_names("train.yaml params", params, allowed):
        raise ConfigError(problems)
    seeds = {name: seed for name in allowed if name.rpartition("__")[2] == "random_state"}
    estimator.set_params(**{**seeds, **params})


def _feature_names(frame: pd.DataFrame, data: DataConfig) -> list[str]:
    if data.task == "text_classification":
        return [data.text_column]
    return list(data.feature_columns) or [str(name) for name in frame.columns if name != data.label_column]


def _features(frame: pd.DataFrame, data: DataConfig) -> Features:
    if data.task == "text_classification":
        return frame[data.text_column].to_numpy(dtype=object)
    return frame[_feature_names(frame, data)]


def _evaluate(estimator: Estimator, request: FitRequest, frame: pd.DataFrame | None) -> dict[str, float]:
    if frame is None:
        return {}
    features, data = _features(frame, request.data), request.data
    predicted = estimator.predict(features)
    if data.task == "regression":
        numbers = [float(label) for label in frame[data.label_column]]
        return compute(request.metrics, data.task, numbers, [float(value) for value in predicted])
    scores, labels = None, _labels(estimator)
    if any(METRICS[name].needs_scores for name in request.metrics if name in METRICS):
        probabilities = getattr(estimator, "predict_proba", None)
        scores = None if probabilities is None else np.asarray(probabilities(features), dtype=np.float64)
    texts = [label_text(label) for label in predicted.tolist()]
    return compute(request.metrics, data.task, label_texts(frame, data), texts, scores, labels)


def _labels(estimator: Estimator) -> list[str]:
    classes = np.asarray(getattr(estimator, "classes_", ()))
    return [label_text(label) for label in classes.tolist()]


def _skops_types(content: bytes) -> list[str]:
    return [str(name) for name in skops.io.get_untrusted_types(data=content)]


def _untrusted(types: Sequence[str], config: SklearnTrain) -> list[str]:
    """Return a line for each type that nobody vouches for.

    skops leaves out many of scikit-learn's own types, such as the trees of a forest; whoever names an estimator
    trusts the package it is from, so these count as listed.
    """
    return [
        f"train.yaml trusted_types: the model has the type {name}, which skops doesn't know; "
        "list it if you trust its module"
        for name in types
        if name not in config.trusted_types and not name.startswith("sklearn.")
    ]


def _save(estimator: Estimator, request: FitRequest, config: SklearnTrain, model_dir: Path) -> None:
    assert request.train is not None
    content = skops.io.dumps(estimator)
    types = _skops_types(content)
    if problems := _untrusted(types, config):
        raise ConfigError(problems)
    write_bytes_atomic(model_dir / MODEL_FILE, content)
    description: dict[str, JsonValue] = {
        "trainer": "sklearn",
        "task": request.data.task,
        "features": [*_feature_names(request.train, request.data)],
        "labels": [*_labels(estimator)],
        "trusted_types": [*types],
    }
    write_json_atomic(model_dir / DESCRIPTION_FILE, description)
