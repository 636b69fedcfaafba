"""What the steps of the work return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from infrastructure.config.schema.hpo import Objective
from training.hpo.records import TrialRecord, objective_values, pareto_front, ranked_records


@dataclass(frozen=True, repr=False)
class StudyResult:
    """A study after a sweep or a cross-validation: all its trials by number, and the best one.

    With several objectives the first is the one that trials are listed by.
    """

    name: str
    study_key_hash: str
    run_id: str
    objectives: tuple[Objective, ...]
    trials: tuple[TrialRecord, ...]
    best: TrialRecord

    def __repr__(self) -> str:
        """Return the study's name, how many trials it has, and its best one."""
        values = zip(self.objectives, objective_values(self.best, self.objectives), strict=True)
        scores = ", ".join(f"{objective.metric}={value:.6g}" for objective, value in values)
        best = f"best {self.best.number}: {scores}, {self.best.params}"
        return f"StudyResult({self.name}, {len(self.trials)} trials, {best})"

    @property
    def objective(self) -> Objective:
        """The objective that trials are listed by."""
        return self.objectives[0]

    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """Return the complete trials that no other is better than in one objective and as good as in all."""
        return tuple(pareto_front(self.trials, self.objectives))

    def leaderboard(self) -> tuple[TrialRecord, ...]:
        """Return the complete trials of the study's own, the best first."""
        return tuple(ranked_records(self.trials, self.objective.direction))

    def to_frame(self) -> pd.DataFrame:
        """Return the trials as a table: one row a trial, one column a hyperparameter."""
        return pd.DataFrame(
            [{"number": t.number, "state": t.state, **self._values(t), **t.params} for t in self.trials]
        )

    def _values(self, trial: TrialRecord) -> dict[str, float | None]:
        """Return a trial's value for each objective, as far as it has them."""
        names = [objective.metric for objective in self.objectives]
        if trial.state != "complete":
            return {name: trial.value if name == names[0] else None for name in names}
        return dict(zip(names, objective_values(trial, self.objectives), strict=True))


class CvResult(NamedTuple):
    """A configuration that was cross-validated, as a trial, and the study that it belongs to."""

    trial: TrialRecord
    study: StudyResult

    def __repr__(self) -> str:
        """Return the trial's number, value and hyperparameters."""
        value = f"{self.study.objective.metric}={self.trial.value:.6g}"
        return f"CvResult(trial {self.trial.number}, {len(self.trial.folds)} folds, {value}, {self.trial.params})"

    def to_frame(self) -> pd.DataFrame:
        """Return the folds as a table: one row a fold, one column a metric, and the seconds of its training."""
        folds = sorted(self.trial.folds.items())
        return pd.DataFrame([{"fold": index, **fold.metrics, "seconds": fold.seconds} for index, fold in folds])


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """Return where the model is, of which trial it is, and how it scored on the test split."""
        scores = "".join(f", test_{name}={value:.6g}" for name, value in self.test.items())
        return f"ModelResult({self.model_uri}, trial {self.trial_number}{scores})"

    def to_frame(self) -> pd.DataFrame:
        """Return the model as a table of one row, with a column for each metric of the test split."""
        tested = {f"test_{name}": value for name, value in self.test.items()}
        row = {"trial": self.trial_number, "model_uri": self.model_uri, "run_id": self.run_id, **tested}
        return pd.DataFrame([row])
