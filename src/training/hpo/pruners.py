"""Pruners that Optuna doesn't have: Azure's bandit policy, and two rules across folds."""

from __future__ import annotations

from statistics import fmean
from typing import cast

from optuna import Study, create_study
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from infrastructure.config.schema import hpo


class BanditPruner(BasePruner):
    """Stops a trial whose value at a step lies beyond the slack of the best value that any trial had there.

    Source: Azure ML SDK v2, `BanditPolicy`. The slack factor is a ratio to the best value, the amount a difference.
    """

    def __init__(self, config: hpo.BanditPruner) -> None:
        self._config = config

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial falls behind at its last step."""
        step = trial.last_step
        if step is None or step < self._config.delay_evaluation or step % self._config.evaluation_interval:
            return False
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        others = [
            t.intermediate_values[step] for t in study.get_trials(deepcopy=False) if step in t.intermediate_values
        ]
        best = max(sign * value for value in others)
        if self._config.slack_amount is not None:
            limit = best - self._config.slack_amount
        else:
            factor = cast("float", self._config.slack_factor)
            limit = best / (1 + factor) if best >= 0 else best * (1 + factor)
        return sign * trial.intermediate_values[step] < limit


class FoldMeanPruner(BasePruner):
    """Stops a trial whose mean over the folds so far is worse than the incumbent; the steps are folds.

    `aggressive` compares with the incumbent's mean, `forgiving` with its worst fold. Source: Bergman, Purucker and
    Hutter 2024, "Don't Waste Your Time: Early Stopping Cross-Validation", §3.
    """

    def __init__(self, *, forgiving: bool) -> None:
        self._forgiving = forgiving

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial is worse than the incumbent; the first trial to complete is never stopped."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = [t for t in complete if t.value is not None and t.intermediate_values]
        if not finished or not trial.intermediate_values:
            return False
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        incumbent = max(finished, key=lambda t: sign * cast("float", t.value))
        folds = [sign * value for value in incumbent.intermediate_values.values()]
        limit = min(folds) if self._forgiving else fmean(folds)
        return fmean(sign * value for value in trial.intermediate_values.values()) < limit


class OwnTrialsWilcoxonPruner(WilcoxonPruner):
    """Optuna's Wilcoxon pruner among the trials that have folds; imported ones have none and would be the best."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial is worse than the best one, fold by fold."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(t.intermediate_values for t in complete):
            return super().prune(study, trial)
        own = create_study(direction=study.direction)
        own.add_trials([t for t in complete if t.intermediate_values])
        return bool(own.get_trials(deepcopy=False)) and super().prune(own, trial)


def epoch_pruner(config: hpo.Pruner) -> BasePruner:
    """Return the pruner that works by epoch within a fold."""
    match config:
        case hpo.NoPruner():
            return NopPruner()
        case hpo.MedianPruner():
            return MedianPruner(n_startup_trials=config.n_startup_trials, n_warmup_steps=config.n_warmup_steps)
        case hpo.PercentilePruner():
            return PercentilePruner(
                config.percentile, n_startup_trials=config.n_startup_trials, n_warmup_steps=config.n_warmup_steps
            )
        case hpo.HyperbandPruner():
            return HyperbandPruner(config.min_resource, config.max_resource, config.reduction_factor)
        case hpo.SuccessiveHalvingPruner():
            return SuccessiveHalvingPruner(config.min_resource, config.reduction_factor)
        case hpo.BanditPruner():
            return BanditPruner(config)


def fold_pruner(config: hpo.FoldPruner | hpo.WilcoxonFoldPruner) -> BasePruner:
    """Return the pruner that works across the folds of a trial."""
    match config:
        case hpo.WilcoxonFoldPruner():
            return OwnTrialsWilcoxonPruner(p_threshold=config.p_threshold)
        case hpo.FoldPruner(type="none"):
            return NopPruner()
        case hpo.FoldPruner():
            return FoldMeanPruner(forgiving=config.type == "forgiving")
