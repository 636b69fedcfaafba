"""Pruners against cases that were computed by hand."""

from __future__ import annotations

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import TrialState, create_trial

from infrastructure.config.schema import hpo
from infrastructure.config.schema.hpo import Direction
from training.hpo.pruners import BanditPruner, FoldMeanPruner


def verdict(pruner: BasePruner, direction: Direction, others: list[list[float]], steps: list[float]) -> bool:
    """Return whether a trial with these values at steps 1, 2, … is pruned beside complete trials with others."""
    study = optuna.create_study(direction=direction, pruner=pruner)
    for values in others:
        curve = dict(enumerate(values, start=1))
        study.add_trial(create_trial(value=sum(values) / len(values), intermediate_values=curve))
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(steps, start=1))))
    return pruner.prune(study, study.trials[-1])


@pytest.mark.parametrize(
    ("direction", "slack", "best", "value", "pruned"),
    [
        ("maximize", {"slack_factor": 0.25}, 0.8, 0.63, True),  # below 0.8 / 1.25 = 0.64
        ("maximize", {"slack_factor": 0.25}, 0.8, 0.65, False),
        ("maximize", {"slack_amount": 0.1}, 0.8, 0.69, True),
        ("maximize", {"slack_amount": 0.1}, 0.8, 0.71, False),
        ("minimize", {"slack_factor": 0.25}, 0.8, 1.01, True),  # above 0.8 × 1.25 = 1.0
        ("minimize", {"slack_factor": 0.25}, 0.8, 0.99, False),
        ("minimize", {"slack_amount": 0.1}, 0.8, 0.91, True),
    ],
)
def test_bandit(direction: Direction, slack: dict[str, float], best: float, value: float, pruned: bool) -> None:
    """The policy stops what lies beyond the slack of the best value at the same step."""
    pruner = BanditPruner(hpo.BanditPruner.model_validate({"type": "bandit", **slack}))
    assert verdict(pruner, direction, [[best]], [value]) is pruned


def test_bandit_waits_as_it_is_told() -> None:
    """It neither acts during its delay nor between its intervals."""
    settings = {"type": "bandit", "slack_amount": 0.1, "delay_evaluation": 2, "evaluation_interval": 2}
    pruner = BanditPruner(hpo.BanditPruner.model_validate(settings))
    best = [[0.9] * 6]
    verdicts = [verdict(pruner, "maximize", best, [0.1] * count) for count in range(1, 7)]
    assert verdicts == [False, True, False, True, False, True]


@pytest.mark.parametrize(
    ("forgiving", "direction", "steps", "pruned"),
    [
        (False, "maximize", [0.74], True),  # the incumbent's mean is 0.75
        (False, "maximize", [0.76], False),
        (False, "maximize", [0.9, 0.5], True),
        (True, "maximize", [0.69], True),  # its worst fold is 0.7
        (True, "maximize", [0.71], False),
        (False, "minimize", [0.76], True),
        (True, "minimize", [0.81], True),  # its worst fold is 0.8
        (True, "minimize", [0.79], False),
    ],
)
def test_fold_means(forgiving: bool, direction: Direction, steps: list[float], pruned: bool) -> None:
    """Aggressive compares with the incumbent's mean, forgiving with its worst fold."""
    incumbent = [[0.7, 0.8]]
    assert verdict(FoldMeanPruner(forgiving=forgiving), direction, incumbent, steps) is pruned


def test_first_trial_is_never_stopped() -> None:
    """Without a complete trial there is nothing to be worse than."""
    assert verdict(FoldMeanPruner(forgiving=False), "maximize", [], [0.0]) is False
