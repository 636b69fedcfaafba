"""The trainers that Assay has; the module of one, and with it its framework, is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final, cast

from infrastructure.config.schema import TrainConfig
from infrastructure.config.schema.train import SklearnTrain, TransformersParams, TransformersTrain
from infrastructure.errors import ConfigError, MissingExtraError
from training.trainers.base import Trainer


@dataclass(frozen=True)
class _Entry:
    module: str
    trainer: str
    extra: str = ""
    packages: frozenset[str] = frozenset()


_TRAINERS: Final[Mapping[str, _Entry]] = MappingProxyType(
    {
        "transformers": _Entry(
            "training.trainers.transformers_trainer",
            "TransformersTrainer",
            "transformers",
            frozenset({"accelerate", "safetensors", "tokenizers", "torch", "transformers"}),
        ),
        "sklearn": _Entry("training.trainers.sklearn_trainer", "SklearnTrainer"),
        "function": _Entry("training.trainers.function_trainer", "FunctionTrainer"),
    }
)


def trainer_module(name: str) -> str:
    """Return the module of a trainer, for a process that imports it ahead of the work."""
    return _TRAINERS[name].module


def load_trainer(name: str) -> Trainer:
    """Import and return the trainer of a name.

    Raises ConfigError for an unknown name, and MissingExtraError if its framework isn't installed.
    """
    if name not in _TRAINERS:
        raise ConfigError([f"train.yaml trainer: unknown trainer {name!r}; allowed: {', '.join(_TRAINERS)}"])
    trainer_class = getattr(_import_trainer(name), _TRAINERS[name].trainer)
    return cast("Trainer", trainer_class())


def check_params(config: TrainConfig, names: Collection[str], root_dir: Path) -> list[str]:
    """Return what is wrong with the names of a search space for this trainer, one line each.

    For scikit-learn the estimator is imported, and what skops wouldn't save of it is said too; a training function
    takes any name. Raises ConfigError if the estimator can't be imported.
    """
    if isinstance(config, TransformersTrain):
        return unknown_names("search_space", names, TransformersParams.model_fields)
    if isinstance(config, SklearnTrain):
        check = cast("Callable[[SklearnTrain, Collection[str]], list[str]]", _import_trainer("sklearn").check_estimator)
        with _importable(root_dir):
            return check(config, names)
    return []


def unknown_names(key: str, names: Collection[str], allowed: Collection[str]) -> list[str]:
    """Return one line for each name that isn't allowed, with the nearest one that is."""
    problems = []
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            problems.append(f"{key}.{name}: unknown hyperparameter; {hint}allowed: {', '.join(sorted(allowed))}")
    return problems


def _import_trainer(name: str) -> ModuleType:
    entry = _TRAINERS[name]
    try:
        return importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in entry.packages:
            raise MissingExtraError(f"trainer {name!r}", entry.extra, package) from error
        raise


@contextmanager
def _importable(root_dir: Path) -> Iterator[None]:
    """Have the project root on `sys.path` for a while."""
    entry = str(root_dir)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
