"""`hpo.yaml`: the objective, the search space, how it is sampled, pruned and cross-validated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from infrastructure.config.schema.base import NOT_IDENTITY, ConfigModel
from infrastructure.config.schema.names import Column, ModelName, PathText, RecordedName
from infrastructure.config.schema.search_space import Parameter, check_conditions

Direction = Literal["maximize", "minimize"]


class Objective(ConfigModel):
    """The metric that the study optimizes; the mean over the folds of a trial is its value."""

    metric: RecordedName
    direction: Direction


class Sampler(ConfigModel):
    """An Optuna sampler without settings of its own."""

    type: Literal["random", "qmc", "grid"]


class LearningSampler(ConfigModel):
    """An Optuna sampler that draws `n_startup_trials` trials at random before it begins to learn."""

    type: Literal["tpe", "gp", "cmaes"]
    n_startup_trials: int = Field(default=10, ge=1)


class NoPruner(ConfigModel):
    """Every fold runs to its last epoch."""

    type: Literal["none"]


class MedianPruner(ConfigModel):
    """Stops a fold whose best value is worse than the median of earlier trials at the same epoch."""

    type: Literal["median"]
    n_startup_trials: int = Field(default=5, ge=0)
    n_warmup_steps: int = Field(default=0, ge=0)


class PercentilePruner(ConfigModel):
    """Keeps the best `percentile` per cent of the trials at each epoch."""

    type: Literal["percentile"]
    percentile: float = Field(default=25.0, ge=0, le=100)
    n_startup_trials: int = Field(default=5, ge=0)
    n_warmup_steps: int = Field(default=0, ge=0)


class HyperbandPruner(ConfigModel):
    """Hyperband (Li et al. 2018) in epochs."""

    type: Literal["hyperband"]
    min_resource: int = Field(default=1, ge=1)
    max_resource: int = Field(ge=1)
    reduction_factor: int = Field(default=3, ge=2)


class SuccessiveHalvingPruner(ConfigModel):
    """Asynchronous successive halving (Li et al. 2020) in epochs."""

    type: Literal["successive_halving"]
    min_resource: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=4, ge=2)


class BanditPruner(ConfigModel):
    """Azure ML's bandit policy: stops a fold that falls behind the best one by more than the slack.

    Source: Azure ML SDK v2, `BanditPolicy(slack_factor, slack_amount, evaluation_interval, delay_evaluation)`.
    """

    type: Literal["bandit"]
    slack_factor: float | None = Field(default=None, gt=0)
    slack_amount: float | None = Field(default=None, gt=0)
    evaluation_interval: int = Field(default=1, ge=1)
    delay_evaluation: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.slack_factor is None) == (self.slack_amount is None):
            raise ValueError("exactly one of slack_factor and slack_amount is needed")
        return self


Pruner = Annotated[
    NoPruner | MedianPruner | PercentilePruner | HyperbandPruner | SuccessiveHalvingPruner | BanditPruner,
    Field(discriminator="type"),
]


class FoldPruner(ConfigModel):
    """Decides after each fold whether a trial gets its remaining folds.

    `aggressive` and `forgiving` are the rules of Bergman, Purucker and Hutter 2024, "Don't Waste Your Time: Early
    Stopping Cross-Validation".
    """

    type: Literal["none", "aggressive", "forgiving"]


class WilcoxonFoldPruner(ConfigModel):
    """Optuna's pruner by Wilcoxon's signed-rank test over the folds, against the best trial so far."""

    type: Literal["wilcoxon"]
    p_threshold: float = Field(default=0.1, gt=0, lt=1)


class Holdout(ConfigModel):
    """One fold: the validation split, or without one `validation_fraction` of the training split set aside."""

    type: Literal["holdout"] = "holdout"
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class KFold(ConfigModel):
    """`folds` shuffled parts; `stratified` keeps the shares of the labels (for spans: of a row's entity labels)."""

    type: Literal["kfold", "stratified"]
    folds: int = Field(default=5, ge=2, le=100)
    seed: int = Field(default=0, ge=0, lt=2**32)


class GroupedKFold(ConfigModel):
    """`folds` parts that keep rows of equal `group_column` together."""

    type: Literal["grouped"]
    group_column: Column
    folds: int = Field(default=5, ge=2, le=100)
    seed: int = Field(default=0, ge=0, lt=2**32)


class RepeatedKFold(ConfigModel):
    """`folds` shuffled parts, `repeats` times over with another shuffle."""

    type: Literal["repeated"]
    folds: int = Field(default=5, ge=2, le=100)
    repeats: int = Field(default=2, ge=2, le=100)
    seed: int = Field(default=0, ge=0, lt=2**32)


class FoldsFile(ConfigModel):
    """Folds of the user's own: a JSON list with `{"train": [rows], "validation": [rows]}` for each fold."""

    type: Literal["file"]
    folds_file: Annotated[PathText, NOT_IDENTITY]


CrossValidation = Annotated[Holdout | KFold | GroupedKFold | RepeatedKFold | FoldsFile, Field(discriminator="type")]


class Latency(ConfigModel):
    """How fast a model predicts: the seconds an example, as the median of `calls` predictions of `batch_size` rows.

    The rows are the first of the test split, without one of the validation split, without that of the training split.
    """

    batch_size: int = Field(default=1, ge=1, le=100_000)
    calls: int = Field(default=30, ge=1, le=100_000)


class Selection(ConfigModel):
    """Chooses a fast trial among those that are about as good as the best one; without it the best is chosen.

    Candidates are the best trials, at most `max_candidates`, whose values are worse than the best one by no more than
    `accuracy_threshold`, a share of its value. `assay refit` refits them and measures their latency. From the best on,
    each replaces the one before it that was chosen if it is faster by at least `min_gain`: with 0.2, if it predicts 1.2
    times as many examples in the same time.
    """

    accuracy_threshold: float = Field(default=0.01, ge=0, lt=1)
    min_gain: float = Field(default=0.2, ge=0)
    max_candidates: int = Field(default=3, ge=2)
    latency: Latency = Latency()


class HpoConfig(ConfigModel):
    """`hpo.yaml`. `timeout` is in seconds; `workers` folds run at a time, each in a process of its own.

    With `further_objectives` the best trial is, of the Pareto front, the one nearest to the best of every objective,
    each counted in shares of its range over the front.
    """

    study_name: Annotated[ModelName, NOT_IDENTITY] = Field(max_length=100)
    objective: Objective
    further_objectives: Annotated[tuple[Objective, ...] | None, Field(strict=False)] = None
    search_space: Annotated[dict[RecordedName, Parameter], Field(min_length=1), AfterValidator(check_conditions)]
    sampler: Annotated[Sampler | LearningSampler, Field(discriminator="type")] = LearningSampler(type="tpe")
    pruner: Pruner = MedianPruner(type="median", n_startup_trials=5, n_warmup_steps=2)
    fold_pruner: Annotated[FoldPruner | WilcoxonFoldPruner, Field(discriminator="type")] = FoldPruner(type="forgiving")
    cv: CrossValidation = Holdout()
    seed: int = Field(default=0, ge=0, lt=2**32)
    max_trials: Annotated[int, NOT_IDENTITY] = Field(default=20, ge=1)
    timeout: Annotated[float | None, NOT_IDENTITY] = Field(default=None, gt=0)
    workers: Annotated[int, NOT_IDENTITY] = Field(default=1, ge=1)
    selection: Annotated[Selection | None, NOT_IDENTITY] = None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the one that trials are listed by first."""
        return (self.objective, *(self.further_objectives or ()))

    @model_validator(mode="after")
    def _check_objectives(self) -> Self:
        if self.further_objectives is None:
            return self
        if not self.further_objectives:
            raise ValueError("further_objectives is an empty list; leave it out")
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"objectives have different metrics, got {', '.join(names)}")
        if (self.pruner.type, self.fold_pruner.type) != ("none", "none"):
            raise ValueError(
                "several objectives: no trial of them can be pruned; write pruner: {type: none} and "
                "fold_pruner: {type: none}"
            )
        if self.sampler.type == "cmaes":
            raise ValueError("several objectives: sampler cmaes knows one alone; allowed: tpe, gp, random, qmc, grid")
        if self.selection is not None:
            raise ValueError("several objectives: selection is another rule to choose by; leave one of the two out")
        return self
