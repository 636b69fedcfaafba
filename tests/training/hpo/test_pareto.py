"""Pareto fronts, and the trial that is chosen of one, against cases that were computed by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from infrastructure.config.schema import HpoConfig
from infrastructure.config.schema.hpo import Objective
from training.hpo.records import FoldRecord, TrialRecord, best_record, objective_values, pareto_front
from training.hpo.selection import balanced

UP_AND_DOWN = (Objective(metric="f1", direction="maximize"), Objective(metric="size", direction="minimize"))


def trials(points: Sequence[tuple[float, float]]) -> list[TrialRecord]:
    """Return trials with these values of f1 and size, the means over two folds."""
    return [
        TrialRecord(
            number=number,
            trial_key_hash=f"key {number}",
            params={},
            state="complete",
            value=f1,
            folds={index: FoldRecord(metrics={"f1": f1, "size": size + (1 if index else -1)}) for index in (0, 1)},
        )
        for number, (f1, size) in enumerate(points)
    ]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 100), (0.8, 50), (0.7, 70), (0.6, 10)], [0, 1, 3]),  # 2 is worse than 1 in both
        ([(0.9, 100), (0.9, 90), (0.8, 90)], [1]),  # as good in one and better in the other is enough
        ([(0.9, 100), (0.9, 100)], [0]),  # of equals the first
        ([(0.5, 1)], [0]),
        ([], []),
    ],
)
def test_front(points: list[tuple[float, float]], front: list[int]) -> None:
    """A trial is on the front if none is as good in every objective; whatever order they come in."""
    for order in itertools.permutations(trials(points)):
        assert [trial.number for trial in pareto_front(order, UP_AND_DOWN)] == front


def test_the_balanced_trial_is_chosen() -> None:
    """Of the front, the one nearest to the best of each objective, in shares of the ranges, is the best.

    The ranges are 0.6 to 0.9 and 10 to 100. Trial 0 lacks all of the size and trial 3 all of f1, a distance of 1. Trial
    1 lacks a third of f1 (0.1 of 0.3) and 40 of 90 of the size: √(1/9 + 16/81) = 0.556. Trial 4 lacks half of f1 and
    10 of 90 of the size: √(1/4 + 1/81) = 0.512. Trial 2, beaten in both, widens no range.
    """
    found = trials([(0.9, 100), (0.8, 50), (0.1, 500), (0.6, 10), (0.75, 20)])
    assert best_record(found, UP_AND_DOWN) == found[4]
    choice = balanced(found, UP_AND_DOWN)
    assert choice.chosen == found[4]
    assert [row.trial.number for row in choice.candidates] == [0, 1, 4, 3]
    assert choice.reason == (
        "trial 4: of the 4 trials of the Pareto front the nearest to the best of each objective (f1 0.75, size 20)"
    )
    # Without trial 4 it is trial 1; with one end of the front alone, the better first objective.
    assert best_record([*found[:4]], UP_AND_DOWN) == found[1]
    assert best_record([found[0], found[3]], UP_AND_DOWN) == found[0]
    assert best_record([], UP_AND_DOWN) is None
    assert balanced([], UP_AND_DOWN).reason == "no trial is complete yet: run `assay sweep` first"


def test_values_are_means_over_folds() -> None:
    """Of an objective beyond the first, a trial's value is the mean of what its folds recorded."""
    (trial,) = trials([(0.9, 100)])
    assert [fold.metrics["size"] for fold in trial.folds.values()] == [99, 101]
    assert objective_values(trial, UP_AND_DOWN) == (0.9, 100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pruner": {"type": "median"}}, "no trial of them can be pruned; write pruner: {type: none}"),
        ({"fold_pruner": {"type": "forgiving"}}, "no trial of them can be pruned; write pruner: {type: none}"),
        ({"sampler": {"type": "cmaes"}}, "sampler cmaes knows one alone; allowed: tpe, gp, random, qmc, grid"),
        ({"selection": {}}, "selection is another rule to choose by; leave one of the two out"),
        ({"further_objectives": []}, "further_objectives is an empty list; leave it out"),
        ({"further_objectives": [{"metric": "f1", "direction": "maximize"}]}, "different metrics, got f1, f1"),
    ],
)
def test_what_does_not_go_with_several_objectives(changes: dict[str, object], reason: str) -> None:
    """What Optuna can't do with several objectives, and what makes no sense, is refused with the way out."""
    values: dict[str, object] = {
        "study_name": "s",
        "objective": UP_AND_DOWN[0].model_dump(),
        "further_objectives": [UP_AND_DOWN[1].model_dump()],
        "search_space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
        "pruner": {"type": "none"},
        "fold_pruner": {"type": "none"},
    }
    assert HpoConfig.model_validate(values).objectives == UP_AND_DOWN
    with pytest.raises(ValidationError, match=reason):
        HpoConfig.model_validate({**values, **changes})
