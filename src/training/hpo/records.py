"""What is kept of a trial: enough to go on with the study from the tracking store alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

TrialState = Literal["running", "complete", "pruned", "failed"]


class FoldRecord(BaseModel):
    """What came of one fold of a trial: its metrics, and the objective at each step of its training.

    `metrics` are empty until the fold has ended by itself. `pruner_state` is Optuna's own notes on the fold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, float] = {}
    curve: dict[int, float] = {}
    seconds: float = 0.0
    pruner_state: dict[str, JsonValue] = {}


class TrialRecord(BaseModel):
    """A trial, whole: parameters exact to the last bit, its folds, and what the sampler noted on it.

    `value` is the mean objective over the folds; a pruned trial's is the mean over those that it had. `sampler_state`
    is Optuna's own notes on the trial, `study_state` those on the study, both as they stood when it was proposed.
    `answered_by` is the number of the finished trial with the same key whose result this one took over.
    `imported_from` names the study and trial elsewhere that this one was taken from: it informs the sampler, but since
    nobody knows on which data it was scored, it is never the best, and no other trial's answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    trial_key_hash: str
    params: dict[str, JsonValue]
    state: TrialState = "running"
    value: float | None = None
    folds: dict[int, FoldRecord] = {}
    sampler_state: dict[str, JsonValue] = {}
    study_state: dict[str, JsonValue] = {}
    failure: str = ""
    answered_by: int | None = None
    imported_from: str = ""

    @property
    def training_seconds(self) -> float:
        """The seconds for which its folds were trained; none if another trial answered it."""
        return 0.0 if self.answered_by is not None else sum(fold.seconds for fold in self.folds.values())


def ranked_records(records: Iterable[TrialRecord], direction: str) -> list[TrialRecord]:
    """Return the complete trials of the study's own, the best first, of equals the first one."""
    sign = -1.0 if direction == "maximize" else 1.0
    complete = [r for r in records if r.state == "complete" and r.value is not None and not r.imported_from]
    return sorted(complete, key=lambda record: (sign * (record.value or 0.0), record.number))


def best_record(records: Iterable[TrialRecord], direction: str) -> TrialRecord | None:
    """Return the best complete trial of the study's own, of equals the first; None when there is no such one."""
    return next(iter(ranked_records(records, direction)), None)
