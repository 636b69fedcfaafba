"""What is kept of a trial: enough to go on with the study from the tracking store alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot
from operator import le
from statistics import fmean
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from infrastructure.config.schema.hpo import Objective

ONE_VALUE: Final = "trials from elsewhere have one value, and this study has several objectives; leave it out"
"""Why a study of several objectives takes none in."""

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

    `value` is the mean objective over the folds; a pruned trial's is the mean over those that it had. Further
    objectives are among the metrics of the folds. `sampler_state`
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


def objective_values(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the value of a complete trial for each objective: the mean over its folds."""
    assert record.value is not None
    folds = [record.folds[index].metrics for index in sorted(record.folds)]
    return (record.value, *(fmean(fold[further.metric] for fold in folds) for further in objectives[1:]))


def pareto_front(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """Return the complete trials that none is better than in one objective and as good in all, the best first.

    They are ordered as `ranked_records` orders them; of equals, the first one is there.
    """
    front: list[tuple[TrialRecord, tuple[float, ...]]] = []
    for record in ranked_records(records, objectives[0].direction):
        losses = _losses(record, objectives)
        if not any(all(map(le, other, losses)) for _, other in front):
            front = [(kept, other) for kept, other in front if not all(map(le, losses, other))]
            front.append((record, losses))
    return [record for record, _ in front]


def best_record(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> TrialRecord | None:
    """Return the best complete trial of the study's own, of equals the first; None when there is no such one.

    With several objectives it is, of the Pareto front, the nearest to the best of every objective: each is scaled to
    its range over the front, and the distance is Euclid's.
    """
    if len(objectives) == 1:
        return next(iter(ranked_records(records, objectives[0].direction)), None)
    front = pareto_front(records, objectives)
    losses = [_losses(record, objectives) for record in front]
    ideal, nadir = [min(column) for column in zip(*losses, strict=True)], [max(c) for c in zip(*losses, strict=True)]

    def distance(index: int) -> float:
        triples = zip(losses[index], ideal, nadir, strict=True)
        return hypot(*((loss - low) / (high - low) if high > low else 0.0 for loss, low, high in triples))

    return front[min(range(len(front)), key=distance)] if front else None


def _losses(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return a trial's values with the sign that makes the smallest the best."""
    values = zip(objective_values(record, objectives), objectives, strict=True)
    return tuple(-value if objective.direction == "maximize" else value for value, objective in values)
