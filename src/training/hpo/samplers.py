"""Optuna's samplers, made anew for each trial from the study's seed and the trial's number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from optuna import Study
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from infrastructure.config.schema.hpo import HpoConfig
from training.hpo.search_space import grid


class _AskOnlyGridSampler(GridSampler):
    """Optuna's grid without its call of `study.stop()`, which raises where trials are asked for one by one."""

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Do nothing; whoever asks checks `is_exhausted` first."""


def trial_seed(study_seed: int, trial_number: int) -> int:
    """Return the seed of a trial, in 32 bits: the same for the same study seed and number, on every machine."""
    digest = hashlib.sha256(f"{study_seed}/{trial_number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def make_sampler(config: HpoConfig, trial_number: int) -> BaseSampler:
    """Return the study's sampler, seeded for one trial, so that a resumed study proposes what it would have."""
    seed = trial_seed(config.seed, trial_number)
    sampler = config.sampler
    match sampler.type:
        case "random":
            return RandomSampler(seed=seed)
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=sampler.n_startup_trials)
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=sampler.n_startup_trials)
        case "cmaes":
            return CmaEsSampler(seed=seed, n_startup_trials=sampler.n_startup_trials, warn_independent_sampling=False)
        case "qmc":
            # The sequence is one for the whole study; its place in it is kept with the trials.
            return QMCSampler(seed=config.seed, scramble=True, warn_independent_sampling=False)
        case "grid":
            return _AskOnlyGridSampler(grid(config.search_space), seed=config.seed)
