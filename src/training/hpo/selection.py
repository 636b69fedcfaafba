"""Which trial of a study is chosen, and what a study is worth beside others: from values and latencies alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from infrastructure.config.schema.hpo import Objective, Selection
from training.hpo.records import TrialRecord, best_record, objective_values, pareto_front, ranked_records

ROUNDING: Final = 1e-9
"""The share by which a value may miss a limit that it meets but for how numbers are kept."""


@dataclass(frozen=True)
class Candidate:
    """A trial that may be chosen, and the seconds an example that its model takes; None while nobody measured them."""

    trial: TrialRecord
    seconds: float | None = None


@dataclass(frozen=True)
class Choice:
    """The candidates, the best value first, the one that is chosen, and why; none while a latency is missing."""

    candidates: tuple[Candidate, ...]
    chosen: TrialRecord | None
    reason: str


def candidates(records: Iterable[TrialRecord], direction: str, selection: Selection | None) -> list[TrialRecord]:
    """Return the trials that are about as good as the best one, that one first; each configuration once.

    Without a selection it is the best one alone. Empty while no trial is complete.
    """
    ranked = _distinct(records, direction)
    if selection is None:
        return ranked[:1]
    widest = selection.accuracy_threshold * (1 + ROUNDING)
    return [trial for trial in ranked[: selection.max_candidates] if _gap(ranked[0], trial) <= widest]


def choose(found: Sequence[TrialRecord], seconds: Mapping[str, float], selection: Selection | None) -> Choice:
    """Choose among candidates, the best first, by the seconds an example that are known of a trial key.

    From the best on, each replaces the one before it that was chosen if it is faster by `selection.min_gain`.
    """
    rows = tuple(Candidate(trial, seconds.get(trial.trial_key_hash)) for trial in found)
    if selection is None or len(rows) < 2:
        alone = found[0] if found else None
        return Choice(rows, alone, _why_alone(alone, selection))
    near = f"within {_percent(selection.accuracy_threshold)} of the best value"
    if missing := [str(row.trial.number) for row in rows if row.seconds is None]:
        numbers = ", ".join(str(row.trial.number) for row in rows)
        what = f"the latency of {', '.join(missing)} isn't measured on this machine yet"
        return Choice(rows, None, f"trials {numbers} are {near}, and {what}: run `assay refit`")
    best = chosen = rows[0]
    for row in rows[1:]:
        if _speed(chosen, row) >= (1 + selection.min_gain) * (1 - ROUNDING):
            chosen = row
    if chosen is best:
        others = ", ".join(f"trial {row.trial.number} is {_speed(best, row):.2f} × as fast" for row in rows[1:])
        gain = f"none {near} is faster by {_percent(selection.min_gain)}"
        return Choice(rows, best.trial, f"trial {best.trial.number}: it has the best value, and {gain} ({others})")
    worse = f"{_percent(_gap(best.trial, chosen.trial))} worse than the best, trial {best.trial.number}"
    faster = f"{_speed(best, chosen):.2f} × as fast ({_shown(chosen)} an example, not {_shown(best)})"
    return Choice(rows, chosen.trial, f"trial {chosen.trial.number}: it is {worse}, and {faster}")


def balanced(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> Choice:
    """Choose by several objectives: of the Pareto front the trial nearest to the best of each."""
    front = pareto_front(records, objectives)
    best = best_record(front, objectives)
    if best is None:
        return Choice((), None, _why_alone(None, None))
    pairs = zip(objectives, objective_values(best, objectives), strict=True)
    values = ", ".join(f"{objective.metric} {value:.4g}" for objective, value in pairs)
    reason = f"trial {best.number}: of the {len(front)} trials of the Pareto front the nearest to the best of each"
    return Choice(tuple(map(Candidate, front)), best, f"{reason} objective ({values})")


def stable_score(records: Iterable[TrialRecord], direction: str, top: int) -> float | None:
    """Return the median of the `top` best values, each configuration once; None if there are fewer."""
    values = [trial.value or 0.0 for trial in _distinct(records, direction)]
    return median(values[:top]) if len(values) >= top else None


def _distinct(records: Iterable[TrialRecord], direction: str) -> list[TrialRecord]:
    """Return the best trial of each configuration, the best first."""
    found: dict[str, TrialRecord] = {}
    for trial in ranked_records(records, direction):
        found.setdefault(trial.trial_key_hash, trial)
    return list(found.values())


def _gap(best: TrialRecord, other: TrialRecord) -> float:
    """Return by which share of the best value another one is worse."""
    distance = abs((best.value or 0.0) - (other.value or 0.0))
    return distance / abs(best.value) if best.value else float("inf") if distance else 0.0


def _speed(one: Candidate, other: Candidate) -> float:
    """Return how many examples `other` predicts while `one` predicts one."""
    assert one.seconds is not None
    assert other.seconds is not None
    return one.seconds / other.seconds


def _why_alone(best: TrialRecord | None, selection: Selection | None) -> str:
    if best is None:
        return "no trial is complete yet: run `assay sweep` first"
    if selection is None:
        return f"trial {best.number}: it has the best value"
    return f"trial {best.number}: no other is within {_percent(selection.accuracy_threshold)} of its value"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _shown(candidate: Candidate) -> str:
    seconds = candidate.seconds or 0.0
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
