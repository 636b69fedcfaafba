"""The metrics that Assay computes: their names, what they are for, and which way is better.

Importing this module loads no framework; `training.metrics` computes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from infrastructure.config.schema.data import Task
from infrastructure.config.schema.hpo import Direction, Objective


@dataclass(frozen=True)
class MetricInfo:
    """Which way is better, which tasks have the metric, and whether it needs class probabilities."""

    direction: Direction
    tasks: frozenset[Task]
    needs_scores: bool = False


_LABELS: Final[frozenset[Task]] = frozenset({"classification", "text_classification"})
_NUMBERS: Final[frozenset[Task]] = frozenset({"regression"})
_SPANS: Final[frozenset[Task]] = frozenset({"token_classification"})

METRICS: Final[Mapping[str, MetricInfo]] = MappingProxyType(
    {
        "accuracy": MetricInfo("maximize", _LABELS),
        "balanced_accuracy": MetricInfo("maximize", _LABELS),
        "f1_macro": MetricInfo("maximize", _LABELS),
        "f1_micro": MetricInfo("maximize", _LABELS),
        "f1_weighted": MetricInfo("maximize", _LABELS),
        "precision_macro": MetricInfo("maximize", _LABELS),
        "recall_macro": MetricInfo("maximize", _LABELS),
        "matthews_corrcoef": MetricInfo("maximize", _LABELS),
        "roc_auc": MetricInfo("maximize", _LABELS, needs_scores=True),
        "log_loss": MetricInfo("minimize", _LABELS, needs_scores=True),
        "r2": MetricInfo("maximize", _NUMBERS),
        "mean_absolute_error": MetricInfo("minimize", _NUMBERS),
        "mean_squared_error": MetricInfo("minimize", _NUMBERS),
        "root_mean_squared_error": MetricInfo("minimize", _NUMBERS),
        "span_f1": MetricInfo("maximize", _SPANS),
        "span_precision": MetricInfo("maximize", _SPANS),
        "span_recall": MetricInfo("maximize", _SPANS),
        "span_f1_macro": MetricInfo("maximize", _SPANS),
    }
)


def metrics_for(task: Task) -> list[str]:
    """Return the names of the metrics that a task has; none for `custom`, where any name is allowed."""
    return [name for name, info in METRICS.items() if task in info.tasks]


def check_metrics(task: Task, objective: Objective, extra: Iterable[str]) -> list[str]:
    """Return what is wrong with the objective and the further metrics, one line each; nothing for task `custom`."""
    assert task in get_args(Task)
    if task == "custom":
        return []
    problems = _name_problems("objective.metric", objective.metric, task)
    if not problems and (better := METRICS[objective.metric].direction) != objective.direction:
        problems.append(
            f"objective.direction: {objective.direction!r} would look for the worst trial, "
            f"{objective.metric} is {better}d; write direction: {better}"
        )
    for name in extra:
        problems += _name_problems("metrics", name, task)
    return problems


def _name_problems(key: str, name: str, task: Task) -> list[str]:
    allowed = metrics_for(task)
    if name in allowed:
        return []
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    fault = f"{name!r} is not for task {task}" if name in METRICS else f"unknown metric {name!r}"
    return [f"{key}: {fault}; {hint}allowed: {', '.join(allowed)}"]
