"""The estimator that the study configures."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def make_pipeline() -> Pipeline:
    """Return a logistic regression on standardised features; its settings are named `classifier__…`."""
    return Pipeline([("scaler", StandardScaler()), ("classifier", LogisticRegression())])
