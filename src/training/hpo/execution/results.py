"""What the steps of the work return."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from infrastructure.config.schema.hpo import Objective
from training.hpo.records import TrialRecord


@dataclass(frozen=True)
class StudyResult:
    """A study after a sweep or a cross-validation: all its trials by number, and the best one."""

    name: str
    study_key_hash: str
    run_id: str
    objective: Objective
    trials: tuple[TrialRecord, ...]
    best: TrialRecord

    def leaderboard(self) -> tuple[TrialRecord, ...]:
        """Return the complete trials of the study's own, the best first."""
        sign = -1.0 if self.objective.direction == "maximize" else 1.0
        complete = [t for t in self.trials if t.state == "complete" and t.value is not None and not t.imported_from]
        return tuple(sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number)))

    def to_frame(self) -> pd.DataFrame:
        """Return the trials as a table: one row a trial, one column a hyperparameter."""
        rows = [{"number": t.number, "state": t.state, self.objective.metric: t.value, **t.params} for t in self.trials]
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class ModelResult:
    """A model that a refit or a final training made: `version` is empty if it wasn't registered.

    `reused` tells that the tracking store had it already, so that nothing was trained.
    """

    run_id: str
    run_name: str
    trial_number: int
    model_uri: str
    model_name: str
    version: str
    test: dict[str, float]
    reused: bool
