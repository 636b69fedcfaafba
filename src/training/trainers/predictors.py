"""How a saved model predicts: the function, and the files that go with the model so that it works without Assay."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from infrastructure.config.schema import DataConfig, TrainConfig
from infrastructure.config.schema.train import FunctionTrain, SklearnTrain, TransformersTrain

HERE: Final = Path(__file__).parent
TEXT_TASKS: Final = ("token_classification", "text_classification")

Predict = Callable[[Path, pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Predictor:
    """A function `predict(model_dir, frame)` that returns one row for each row of the frame.

    `module` has it here; in the model its `code` files lie in the package `package`, or bare without one. Each trainer
    has a package of its own, so that models of several can be loaded in one process.
    """

    module: str
    name: str
    code: tuple[Path, ...]
    package: str
    requirements: tuple[str, ...]

    @property
    def function(self) -> str:
        """Where the function is inside the model, as `module:name`."""
        module = f"{self.package}.{self.module.rpartition('.')[2]}" if self.package else self.module
        return f"{module}:{self.name}"


def predictor_of(config: TrainConfig, root_dir: Path) -> Predictor | None:
    """Return the predictor of a trainer's models; None for a training function without `predict`."""
    match config:
        case TransformersTrain():
            return Predictor(
                module="training.trainers.transformers_predictor",
                name="predict",
                code=(HERE / "transformers_predictor.py",),
                package="assay_transformers_predictor",
                requirements=("numpy", "safetensors", "tokenizers", "torch", "transformers"),
            )
        case SklearnTrain():
            return Predictor(
                module="training.trainers.sklearn_predictor",
                name="predict",
                code=(HERE / "sklearn_predictor.py",),
                package="assay_sklearn_predictor",
                requirements=("numpy", "scikit-learn", "skops"),
            )
        case FunctionTrain(predict=None):
            return None
        case FunctionTrain(predict=str(path)):
            module, _, name = path.partition(":")
            return Predictor(module, name, _project_code(path, root_dir), "", ("numpy",))
    return None


def _project_code(import_path: str, root_dir: Path) -> tuple[Path, ...]:
    """Return the project's own file or folder that an import path begins with, if it is the project's."""
    top = import_path.partition(":")[0].partition(".")[0]
    candidates = (root_dir / f"{top}.py", root_dir / top)
    return tuple(path for path in candidates if path.exists())[:1]


def questions(data: DataConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with those columns alone that a model is asked with."""
    if data.task in TEXT_TASKS:
        return rows[[data.text_column]]
    names = data.feature_columns or [name for name in rows.columns if name != data.label_column]
    return rows[list(names)]


def load_predict(predictor: Predictor) -> Predict:
    """Import the predictor's function here."""
    function = getattr(importlib.import_module(predictor.module), predictor.name)

    def predict(model_dir: Path, frame: pd.DataFrame) -> pd.DataFrame:
        answer = function(model_dir, frame)
        return answer if isinstance(answer, pd.DataFrame) else pd.DataFrame({"prediction": list(answer)})

    return predict
