"""The sampler's and the pruners' view of a study: held in memory by Optuna, rebuilt from records at each start."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, prod
from statistics import fmean
from typing import Final

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import GridSampler
from optuna.trial import FrozenTrial, Trial, create_trial
from optuna.trial import TrialState as OptunaState
from pydantic import JsonValue

from infrastructure.config.schema import HpoConfig
from infrastructure.config.schema.hpo import Objective
from infrastructure.naming.keys import trial_key_hash
from training.hpo.pruners import epoch_pruner, fold_pruner
from training.hpo.records import FoldRecord, TrialRecord, objective_values
from training.hpo.samplers import make_sampler
from training.hpo.search_space import grid, suggest, suggested_distributions

STATES: Final = {
    "running": OptunaState.RUNNING,
    "complete": OptunaState.COMPLETE,
    "pruned": OptunaState.PRUNED,
    "failed": OptunaState.FAIL,
}

FIXED_PARAMS: Final = "fixed_params"
"""Optuna's note on a trial whose hyperparameters were given to it, not sampled."""

optuna.logging.set_verbosity(logging.WARNING)


class OptunaStudy:
    """Proposes trials and decides what is pruned; it keeps nothing that the records don't have.

    Two kinds of Optuna study stand behind it: one over trials, whose steps are folds in the study's order, for the
    sampler and the fold pruner; and one for each fold, whose steps are epochs, for the epoch pruner. A trial has one
    number in all.
    """

    def __init__(self, config: HpoConfig, study_key_hash: str, fold_count: int) -> None:
        self._config = config
        self._key = study_key_hash
        self.fold_order = fold_order(study_key_hash, range(fold_count))
        with _without_notices():
            across_folds = fold_pruner(config.fold_pruner)
        # Hyperband's brackets depend on the study's name, so it has to be the same at every start.
        self._trials = optuna.create_study(
            study_name=study_key_hash,
            directions=[objective.direction for objective in config.objectives],
            pruner=across_folds,
        )
        self._folds = [
            optuna.create_study(
                study_name=f"{study_key_hash}/{fold_idx}",
                direction=config.objective.direction,
                pruner=epoch_pruner(config.pruner),
            )
            for fold_idx in range(fold_count)
        ]

    @property
    def next_number(self) -> int:
        """The number that the next trial will have."""
        return len(self._trials.get_trials(deepcopy=False))

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """Take in what is known of earlier trials, in order of their numbers, which may have no gap."""
        study_state: Mapping[str, JsonValue] = {}
        for record in records:
            assert record.number == self.next_number, f"trial {self.next_number} is missing"
            # A trial that was answered reported nothing when it was told, so it reports nothing here.
            folds = record.folds if record.answered_by is None else {}
            values = {self.fold_order.index(fold_idx): self._value(fold) for fold_idx, fold in folds.items()}
            self._trials.add_trial(self._frozen(record, values, record.sampler_state, self._config.objectives))
            # On other folds nobody knows what it would have been: it is no peer for a fold's pruner.
            of_fold = record.model_copy(update={"state": "failed"}) if record.imported_from else record
            for fold_idx, study in enumerate(self._folds):
                fold = folds.get(fold_idx, FoldRecord())
                study.add_trial(self._frozen(of_fold, fold.curve, fold.pruner_state, self._config.objectives[:1]))
            study_state = record.study_state or study_state
        for key, value in study_state.items():
            # QMC counts its points on the study; Optuna offers no public way to put the count back.
            self._trials._storage.set_study_system_attr(self._trials._study_id, key, value)

    def _frozen(
        self,
        record: TrialRecord,
        steps: Mapping[int, float],
        notes: Mapping[str, JsonValue],
        objectives: Sequence[Objective],
    ) -> FrozenTrial:
        return create_trial(
            state=STATES[record.state],
            values=objective_values(record, objectives) if record.state == "complete" else None,
            params={name: record.params[name] for name in self._distributions(record.params)},
            distributions=self._distributions(record.params),
            system_attrs=dict(notes),
            intermediate_values={step: value for step, value in steps.items() if isfinite(value)},
        )

    def _distributions(self, params: Mapping[str, JsonValue]) -> dict[str, optuna.distributions.BaseDistribution]:
        return suggested_distributions(self._config.search_space, params)

    def _value(self, fold: FoldRecord) -> float:
        return fold.metrics.get(self._config.objective.metric, float("nan"))

    def ask(self, params: Mapping[str, JsonValue] | None = None) -> TrialRecord | None:
        """Return the next trial, with these hyperparameters or else those that the sampler proposes.

        None when a grid has no point left.
        """
        with _without_notices():
            self._trials.sampler = make_sampler(self._config, self.next_number)
        if params is not None:
            self._trials.enqueue_trial(dict(params))
        elif isinstance(self._trials.sampler, GridSampler) and self._grid_is_given_out():
            return None
        trial = self._trials.ask()
        chosen = suggest(trial, self._config.search_space)
        for study in self._folds:
            study.add_trial(create_trial(state=OptunaState.RUNNING))
        return TrialRecord(
            number=trial.number,
            trial_key_hash=trial_key_hash(self._key, chosen),
            params=chosen,
            sampler_state=dict(self._trials._storage.get_trial_system_attrs(trial._trial_id)),
            study_state=dict(self._trials._storage.get_study_system_attrs(self._trials._study_id)),
        )

    def _grid_is_given_out(self) -> bool:
        """Tell whether every point of the grid has a trial, finished or still running."""
        notes = (trial.system_attrs for trial in self._trials.get_trials(deepcopy=False))
        given = {note["grid_id"] for note in notes if "grid_id" in note}
        return len(given) >= prod(len(values) for values in grid(self._config.search_space).values())

    def should_stop_fold(self, number: int, fold_idx: int, step: int, value: float) -> bool:
        """Take in a fold's objective after an epoch, and tell whether the fold is to be stopped."""
        return self._report(self._folds[fold_idx], number, step, value)

    def should_stop_trial(self, number: int, fold_idx: int, value: float) -> bool:
        """Take in a fold's final objective, and tell whether the trial is denied its remaining folds.

        With several objectives none is: Optuna takes no reports of such trials.
        """
        if self._config.further_objectives:
            return False
        return self._report(self._trials, number, self.fold_order.index(fold_idx), value)

    def is_hopeless(self, number: int) -> bool:
        """Tell whether a trial is denied its remaining folds, as things stand."""
        if self._config.further_objectives:
            return False
        frozen = self._trials.get_trials(deepcopy=False)[number]
        return Trial(self._trials, frozen._trial_id).should_prune()

    def _report(self, study: optuna.Study, number: int, step: int, value: float) -> bool:
        frozen = study.get_trials(deepcopy=False)[number]
        trial = Trial(study, frozen._trial_id)
        trial.report(value, step)
        return trial.should_prune()

    def pruner_state(self, number: int, fold_idx: int) -> dict[str, JsonValue]:
        """Return what the epoch pruner noted on a fold."""
        return dict(self._folds[fold_idx].get_trials(deepcopy=False)[number].system_attrs)

    def tell(self, record: TrialRecord) -> TrialRecord:
        """Take in how a trial ended, and return its record with what the sampler noted on it."""
        state = STATES[record.state]
        values = objective_values(record, self._config.objectives) if record.state == "complete" else None
        self._trials.tell(record.number, values, state=state)
        for fold_idx, study in enumerate(self._folds):
            fold = record.folds.get(fold_idx)
            # A fold's study only serves to compare curves; its value is the last of its curve.
            if state is OptunaState.COMPLETE and fold is not None and isfinite(self._value(fold)):
                study.tell(record.number, self._value(fold))
            else:
                study.tell(record.number, state=OptunaState.PRUNED if state is OptunaState.COMPLETE else state)
        trial = self._trials.get_trials(deepcopy=False)[record.number]
        return record.model_copy(update={"sampler_state": dict(trial.system_attrs)})

    def mean_value(self, folds: Mapping[int, FoldRecord]) -> float:
        """Return the mean objective over folds, the value of a trial."""
        return fmean(self._value(folds[index]) for index in sorted(folds))


def fold_order(study_key_hash: str, folds: Iterable[int]) -> list[int]:
    """Return folds in the order in which all trials of a study get them: shuffled, and the same wherever it goes on.

    The first folds decide which trials are pruned, so they are others in each study. Source: Bergman, Purucker and
    Hutter 2024, "Don't Waste Your Time: Early Stopping Cross-Validation", §4.
    """
    return sorted(folds, key=lambda fold_idx: hashlib.sha256(f"{study_key_hash}/{fold_idx}".encode()).digest())


def frozen_trial(
    record: TrialRecord, config: HpoConfig, study_key_hash: str, objectives: Sequence[Objective]
) -> FrozenTrial:
    """Return a trial as Optuna knows it, with its values for these objectives.

    The values of its folds, in the order in which they came, are its steps.
    """
    distributions = suggested_distributions(config.search_space, record.params)
    values = [
        record.folds[index].metrics.get(config.objective.metric) for index in fold_order(study_key_hash, record.folds)
    ]
    return create_trial(
        state=STATES[record.state],
        values=objective_values(record, objectives) if record.state == "complete" else None,
        params={name: record.params[name] for name in distributions},
        distributions=distributions,
        intermediate_values={step: value for step, value in enumerate(values) if value is not None},
    )


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keep Optuna from noting that a sampler or pruner which the user chose is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
