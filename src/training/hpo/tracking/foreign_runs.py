"""Runs that were made without Assay, read as trials: by Optuna's MLflow callback, or nested by hand."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from infrastructure.config.schema import HpoConfig
from infrastructure.errors import ExecutionError
from infrastructure.naming import tags
from infrastructure.naming.keys import trial_key_hash
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.records import TrialRecord
from training.hpo.search_space import check_params, parsed_params, with_constants


def foreign_trials(experiment: str, study_key_hash: str, config: HpoConfig) -> tuple[list[TrialRecord], list[str]]:
    """Return the finished runs of an experiment that have a point of the search space and the objective, as trials.

    Each is marked as imported, since nobody knows on which data it was scored. Beside them come the reasons why other
    runs aren't taken, one for each. Assay's own runs aren't looked at. Params that aren't in the search space are left
    out. Raises RunNotFoundError for an experiment that isn't there, ExecutionError if nothing of it can be taken.
    """
    records: list[TrialRecord] = []
    refused: list[str] = []
    for run in queries.runs_of_experiment(experiment):
        if tags.STAGE in run.tags or not run.params.keys() & config.search_space.keys():
            continue
        params = with_constants(config.search_space, parsed_params(config.search_space, run.params))
        if reason := _refusal(run, params, config):
            refused.append(f"{run.name} ({run.run_id}): {reason}")
            continue
        records.append(
            TrialRecord(
                number=len(records),
                trial_key_hash=trial_key_hash(study_key_hash, params),
                params=params,
                state="complete",
                value=run.metrics[config.objective.metric],
                imported_from=f"{experiment}/{run.run_id}",
            )
        )
    if not records:
        why = f"; the first: {refused[0]}" if refused else f"; none has a param of {', '.join(config.search_space)}"
        raise ExecutionError(f"no run of the experiment {experiment!r} can be taken as a trial{why}")
    return records, refused


def _refusal(run: RunRecord, params: Mapping[str, JsonValue], config: HpoConfig) -> str:
    """Return why a run is no trial of this study, or an empty text."""
    if run.status != "FINISHED":
        return f"it is {run.status}, not FINISHED"
    if config.objective.metric not in run.metrics:
        return f"it has no metric {config.objective.metric}; it has {', '.join(sorted(run.metrics)) or 'none'}"
    return next(iter(check_params(config.search_space, params)), "")
