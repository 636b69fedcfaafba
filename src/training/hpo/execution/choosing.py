"""Which trial of the project's study is refitted, as the tracking store has it; nothing is trained or measured."""

from __future__ import annotations

from collections.abc import Iterable

from training.hpo.execution.project import Project
from training.hpo.records import TrialRecord
from training.hpo.selection import Choice, balanced, candidates, choose
from training.hpo.tracking.latencies import Conditions, stored_latency


def latency_conditions(project: Project) -> Conditions | None:
    """Return how the project's candidates are measured; None if its study is chosen from by value alone."""
    selection = project.config.hpo.selection
    return None if selection is None else Conditions(selection.latency, project.config.train.threads)


def stored_choice(project: Project, trials: Iterable[TrialRecord]) -> Choice:
    """Return the choice among a study's trials, with the latencies that are measured on this machine."""
    hpo = project.config.hpo
    if hpo.further_objectives:
        return balanced(list(trials), hpo.objectives)
    found = candidates(trials, hpo.objective.direction, hpo.selection)
    conditions = latency_conditions(project)
    seconds: dict[str, float] = {}
    if conditions is not None and len(found) > 1:
        for trial in found:
            if (latency := stored_latency(trial, conditions)) is not None:
                seconds[trial.trial_key_hash] = latency
    return choose(found, seconds, hpo.selection)
