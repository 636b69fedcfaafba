"""A training loop of one's own: a polynomial in each feature, fitted by gradient descent.

Assay calls `train` with those of its arguments that it names, and `predict` with the folder that `train` wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = "target"
METRIC = "root_mean_squared_error"
MODEL_FILE = "model.npz"


def train(
    *,
    params: Mapping[str, float],
    train: pd.DataFrame,
    valid: pd.DataFrame | None,
    test: pd.DataFrame | None,
    report: Callable[[int, Mapping[str, float]], None],
    seed: int,
    model_dir: Path | None,
) -> dict[str, float]:
    """Fit the polynomial, report every epoch, and return the root mean squared errors on `valid` and `test`."""
    degree = int(params["degree"])
    target = train[TARGET].to_numpy(dtype=float)
    powers = _powers(train, degree)
    model = {"degree": np.array(degree), "mean": powers.mean(axis=0), "scale": powers.std(axis=0)}
    model |= {"bias": np.array(target.mean()), "weights": np.zeros(powers.shape[1])}
    features = (powers - model["mean"]) / model["scale"]
    generator = np.random.default_rng(seed)
    batches = max(1, len(train) // int(params["batch_size"]))
    for epoch in range(1, int(params["epochs"]) + 1):
        for rows in np.array_split(generator.permutation(len(train)), batches):
            error = features[rows] @ model["weights"] + model["bias"] - target[rows]
            gradient = features[rows].T @ error / len(rows) + params["l2"] * model["weights"]
            model["weights"] = model["weights"] - params["learning_rate"] * gradient
        if valid is not None:
            report(epoch, {METRIC: _rmse(model, valid)})
    if model_dir is not None:
        np.savez(model_dir / MODEL_FILE, **model)
    scores = {} if valid is None else {METRIC: _rmse(model, valid)}
    return scores if test is None else {**scores, f"test_{METRIC}": _rmse(model, test)}


def predict(model_dir: Path, frame: pd.DataFrame) -> list[float]:
    """Return the predicted progression of each patient, from the model that `train` saved."""
    with np.load(model_dir / MODEL_FILE) as model:
        return [float(value) for value in _predict(model, frame)]


def _powers(frame: pd.DataFrame, degree: int) -> np.ndarray:
    """Return the features to the powers 1 to `degree`, side by side: (rows, features × degree)."""
    values = frame.drop(columns=TARGET, errors="ignore").to_numpy(dtype=float)
    return np.hstack([values**power for power in range(1, degree + 1)])


def _predict(model: Mapping[str, np.ndarray], frame: pd.DataFrame) -> np.ndarray:
    features = (_powers(frame, int(model["degree"])) - model["mean"]) / model["scale"]
    return np.asarray(features @ model["weights"] + model["bias"])


def _rmse(model: Mapping[str, np.ndarray], frame: pd.DataFrame) -> float:
    error = _predict(model, frame) - frame[TARGET].to_numpy(dtype=float)
    return float(np.sqrt(np.mean(error**2)))
