"""Predicts with a saved scikit-learn model; goes with the model, so it imports nothing of Assay."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import skops.io


def predict(model_dir: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the column `prediction`, and for classifiers with probabilities a column `probability_<label>` each."""
    estimator, description = _load(model_dir)
    columns = description["features"]
    if missing := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"the input has no column {missing[0]!r}; the model needs {', '.join(columns)}")
    is_text = description["task"] == "text_classification"
    features = frame[columns[0]].to_numpy(dtype=object) if is_text else frame[columns]
    answer = pd.DataFrame({"prediction": estimator.predict(features).tolist()})
    if hasattr(estimator, "predict_proba") and description["task"] != "regression":
        probabilities = estimator.predict_proba(features)
        for index, label in enumerate(description["labels"]):
            answer[f"probability_{label}"] = probabilities[:, index].astype(float)
    return answer


@lru_cache(maxsize=4)
def _load(model_dir: Path) -> tuple[Any, dict[str, Any]]:
    """Return the estimator and its description; only the types that were listed when it was saved are loaded."""
    description = json.loads((model_dir / "assay_model.json").read_text())
    estimator = skops.io.load(model_dir / "model.skops", trusted=description["trusted_types"])
    return estimator, description
