"""Metrics against values worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from infrastructure.config.schema.hpo import Objective
from infrastructure.errors import ConfigError
from training.metric_names import METRICS, check_metrics, metrics_for
from training.metrics import compute

TRUE, PRED = ["a", "a", "a", "b"], ["a", "a", "b", "b"]
# a: precision 1, recall 2/3, F1 0.8; b: precision 1/2, recall 1, F1 2/3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 4),
        ("balanced_accuracy", (2 / 3 + 1) / 2),
        ("f1_macro", (0.8 + 2 / 3) / 2),
        ("f1_micro", 3 / 4),
        ("f1_weighted", (3 * 0.8 + 2 / 3) / 4),
        ("precision_macro", (1 + 0.5) / 2),
        ("recall_macro", (2 / 3 + 1) / 2),
        ("matthews_corrcoef", (1 * 2 - 0 * 1) / math.sqrt(2 * 1 * 3 * 2)),
    ],
)
def test_label_metrics(name: str, expected: float) -> None:
    """Metrics of labels agree with the arithmetic."""
    assert compute([name], "classification", TRUE, PRED)[name] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_absolute_error", 1.0),
        ("mean_squared_error", 5 / 3),
        ("root_mean_squared_error", math.sqrt(5 / 3)),
        ("r2", 1 - 5 / 2),
    ],
)
def test_number_metrics(name: str, expected: float) -> None:
    """Metrics of numbers agree with the arithmetic."""
    assert compute([name], "regression", [1.0, 2.0, 3.0], [1.0, 4.0, 2.0])[name] == pytest.approx(expected)


def test_probability_metrics() -> None:
    """ROC AUC and log loss are computed from the columns that the labels name."""
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    values = compute(["roc_auc", "log_loss"], "classification", TRUE, PRED, scores, ["a", "b"])
    assert values["roc_auc"] == pytest.approx(2 / 3)
    assert values["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.6, 0.3, 0.5))) / 4)


def test_probability_metrics_survive_other_labels_than_the_models() -> None:
    """A label that the model doesn't know costs log loss, and one that doesn't occur is left out of ROC AUC."""
    scores = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    values = compute(["roc_auc", "log_loss"], "classification", ["a", "new"], ["a", "b"], scores, ["a", "b", "c"])
    assert values["roc_auc"] == 1.0
    assert math.isfinite(values["log_loss"])
    assert values["log_loss"] > 10
    assert math.isnan(compute(["roc_auc"], "classification", ["a"], ["a"], scores[:1], ["a", "b", "c"])["roc_auc"])


def test_span_metrics() -> None:
    """A span counts only if label, start and end are all right."""
    true = [[(0, 3, "x"), (3, 5, "y")], [(0, 2, "x")], []]
    pred = [[(0, 3, "x"), (3, 6, "y")], [(0, 2, "y")], [(1, 2, "x")]]
    values = compute(metrics_for("token_classification"), "token_classification", true, pred)
    assert values["span_precision"] == pytest.approx(1 / 4)
    assert values["span_recall"] == pytest.approx(1 / 3)
    assert values["span_f1"] == pytest.approx(2 / 7)
    assert values["span_f1_macro"] == pytest.approx((0.5 + 0) / 2)


def test_neighbouring_spans_do_not_overlap() -> None:
    """A wrong span that ends where a gold one begins doesn't take the gold one away from the right span."""
    values = compute(["span_recall"], "token_classification", [[(3, 5, "x")]], [[(0, 3, "x"), (3, 5, "x")]])
    assert values["span_recall"] == 1.0


def test_no_spans_at_all_have_a_value() -> None:
    """Without gold or predicted spans every span metric is 0, as scikit-learn's zero_division has it."""
    assert set(compute(metrics_for("token_classification"), "token_classification", [[], []], [[], []]).values()) == {0}


def test_metric_that_can_not_be_computed_is_refused() -> None:
    """A metric of another task, or one that lacks probabilities, is refused."""
    with pytest.raises(ConfigError, match="'r2' is not for task classification"):
        compute(["r2"], "classification", TRUE, PRED)
    with pytest.raises(ConfigError, match="needs class probabilities"):
        compute(["log_loss"], "classification", TRUE, PRED)


@pytest.mark.parametrize(
    ("metric", "direction", "extra", "expected"),
    [
        ("accuracy", "maximize", ["f1_macro"], []),
        ("acuracy", "maximize", [], ["unknown metric 'acuracy'; did you mean 'accuracy'"]),
        ("span_f1", "maximize", [], ["'span_f1' is not for task classification"]),
        ("accuracy", "minimize", ["rcll"], ["accuracy is maximized; write direction: maximize", "metrics: unknown"]),
        ("log_loss", "maximize", [], ["log_loss is minimized"]),
    ],
)
def test_check_metrics(metric: str, direction: str, extra: list[str], expected: list[str]) -> None:
    """Every fault of the metrics is one line."""
    objective = Objective.model_validate({"metric": metric, "direction": direction})
    problems = check_metrics("classification", objective, extra)
    assert len(problems) == len(expected)
    assert all(part in problem for part, problem in zip(expected, problems, strict=True))
    assert check_metrics("custom", objective, extra) == []


def test_every_metric_is_computed() -> None:
    """No name is declared without a computation."""
    for name, info in METRICS.items():
        scores = np.array([[0.4, 0.6], [0.6, 0.4]])
        for task in info.tasks:
            if task == "token_classification":
                values = compute([name], task, [[(0, 1, "x")]], [[(0, 1, "x")]])
            elif task == "regression":
                values = compute([name], task, [1.0, 2.0], [1.0, 2.0])
            else:
                values = compute([name], task, ["b", "a"], ["b", "a"], scores, ["a", "b"])
            assert math.isfinite(values[name])


def test_names_load_no_framework() -> None:
    """The names alone cost no import of a framework."""
    code = "import sys, training.metric_names; print({'sklearn', 'numpy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
