"""Computes the metrics of `training.metric_names`: scikit-learn's, and nervaluate's strict ones for spans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from nervaluate import Evaluator
from sklearn import metrics as sk

from infrastructure.config.schema.data import Task
from infrastructure.errors import ConfigError
from training.data.spans import Span
from training.metric_names import METRICS, metrics_for

Targets = Sequence[str] | Sequence[float] | Sequence[Sequence[Span]]
"""One entry for each row: a label, a number, or the row's spans."""

Scores = np.ndarray
"""Class probabilities, rows × labels, float."""


def compute(
    names: Sequence[str],
    task: Task,
    y_true: Targets,
    y_pred: Targets,
    y_score: Scores | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """Compute the named metrics over rows.

    `labels` names the columns of `y_score`. A metric that isn't defined on these rows (ROC AUC where only one label
    occurs, R² of one row) is NaN. Raises ConfigError for a metric that the task hasn't, or that needs probabilities
    where there are none.
    """
    for name in names:
        if name not in METRICS or task not in METRICS[name].tasks:
            raise ConfigError([f"metrics: {name!r} is not for task {task}; allowed: {', '.join(metrics_for(task))}"])
        if METRICS[name].needs_scores and (y_score is None or labels is None):
            raise ConfigError([f"metrics: {name} needs class probabilities, which this model doesn't give; drop it"])
    if task == "token_classification":
        values = _span_values(y_true, y_pred)
        return {name: values[name] for name in names}
    results = {}
    for name in names:
        if METRICS[name].needs_scores:
            assert y_score is not None
            results[name] = _SCORED[name](list(y_true), y_score, list(labels or ()))
        else:
            results[name] = float(_PLAIN[name](np.asarray(y_true), np.asarray(y_pred)))
    return results


def _span_values(y_true: Sequence[object], y_pred: Sequence[object]) -> dict[str, float]:
    """Score spans strictly: label, start and end must all be right. All are 0 where no span is right."""
    true, pred = [_entities(spans) for spans in y_true], [_entities(spans) for spans in y_pred]
    tags = sorted({str(entity["label"]) for row in (*true, *pred) for entity in row})
    if not tags:
        return dict.fromkeys(("span_f1", "span_precision", "span_recall", "span_f1_macro"), 0.0)
    results = Evaluator(true, pred, tags=tags, loader="dict").evaluate()
    strict = results["overall"]["strict"]
    by_label = [float(results["entities"][tag]["strict"].f1) for tag in tags]
    return {
        "span_f1": float(strict.f1),
        "span_precision": float(strict.precision),
        "span_recall": float(strict.recall),
        "span_f1_macro": math.fsum(by_label) / len(by_label),
    }


def _entities(spans: object) -> list[dict[str, str | int]]:
    """Spell spans as nervaluate does: the end is the last character, or neighbours would count as overlapping."""
    assert isinstance(spans, Sequence)
    return [{"label": label, "start": int(start), "end": int(end) - 1} for start, end, label in spans]


def _log_loss(y_true: Sequence[object], y_score: Scores, labels: list[str]) -> float:
    """Compute the log loss; a label that the model doesn't know has probability 0."""
    known = [*labels, *sorted({str(label) for label in y_true} - set(labels))]
    scores = np.zeros((len(y_score), len(known)))
    scores[:, : len(labels)] = y_score
    column = {label: index for index, label in enumerate(known)}
    chosen = scores[np.arange(len(scores)), [column[str(label)] for label in y_true]]
    return float(-np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0)).mean())


def _roc_auc(y_true: Sequence[object], y_score: Scores, labels: list[str]) -> float:
    """Compute the ROC AUC; of more than two labels, the mean of each against the rest.

    Labels that none or all of the rows have are left out, as their curve isn't defined.
    """
    if len(labels) == 2:
        positive = np.array([label == labels[1] for label in y_true])
        return float(sk.roc_auc_score(positive, y_score[:, 1])) if 0 < positive.sum() < len(positive) else math.nan
    values = []
    for index, label in enumerate(labels):
        positive = np.array([other == label for other in y_true])
        if 0 < positive.sum() < len(positive):
            values.append(float(sk.roc_auc_score(positive, y_score[:, index])))
    return math.fsum(values) / len(values) if values else math.nan


def _balanced_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Compute the mean of the recalls of the labels that occur, without the warning for those only predicted."""
    return float(sk.recall_score(y_true, y_pred, labels=np.unique(y_true), average="macro", zero_division=0))


def _averaged(score: Callable[..., float], average: str) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda y_true, y_pred: score(y_true, y_pred, average=average, zero_division=0)


_PLAIN: Final = MappingProxyType(
    {
        "accuracy": sk.accuracy_score,
        "balanced_accuracy": _balanced_accuracy,
        "f1_macro": _averaged(sk.f1_score, "macro"),
        "f1_micro": _averaged(sk.f1_score, "micro"),
        "f1_weighted": _averaged(sk.f1_score, "weighted"),
        "precision_macro": _averaged(sk.precision_score, "macro"),
        "recall_macro": _averaged(sk.recall_score, "macro"),
        "matthews_corrcoef": sk.matthews_corrcoef,
        "r2": lambda y_true, y_pred: sk.r2_score(y_true, y_pred) if len(y_true) > 1 else math.nan,
        "mean_absolute_error": sk.mean_absolute_error,
        "mean_squared_error": sk.mean_squared_error,
        "root_mean_squared_error": sk.root_mean_squared_error,
    }
)
_SCORED: Final = MappingProxyType({"roc_auc": _roc_auc, "log_loss": _log_loss})
