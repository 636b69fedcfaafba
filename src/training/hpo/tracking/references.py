"""From what a person calls a run to the run, its study and what they keep."""

from __future__ import annotations

import json
from typing import Final

from pydantic import JsonValue

from infrastructure.errors import RunNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.records import TrialRecord

MODEL_STAGES: Final = (tags.STAGE_REFIT, tags.STAGE_FINAL)


def find_run(reference: str) -> RunRecord:
    """Return a run by its id or name, or a study's by the beginning of its key; of several variants the newest.

    Raises RunNotFoundError if there is none, or if there are several that aren't variants of one thing.
    """
    found = queries.find_by_name(reference)
    if not found and len(reference) >= 6:
        studies = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
        found = [run for run in studies if run.tags.get(tags.STUDY_KEY, "").startswith(reference)]
    kinds = {tuple(run.tags.get(key) for key in (tags.STAGE, tags.STUDY_KEY, tags.TRIAL_KEY)) for run in found}
    if len(kinds) > 1:
        ids = ", ".join(run.run_id for run in found)
        raise RunNotFoundError(f"{reference!r} is the name of {len(found)} runs; name one by its id: {ids}")
    return found[-1] if found else queries.get_run(reference)


def trial_of(run: RunRecord) -> RunRecord:
    """Return the run of the trial that a fold, refit or final training belongs to; a trial's own.

    Raises RunNotFoundError if the run names no trial, or one that the store hasn't got.
    """
    stage = run.tags.get(tags.STAGE)
    if stage == tags.STAGE_TRIAL:
        return run
    trial_id = run.tags.get(tags.PARENT_RUN if stage == tags.STAGE_FOLD else tags.REFIT_OF_TRIAL)
    if trial_id is None:
        raise RunNotFoundError(f"run {run.name} ({run.run_id}) belongs to no trial: its stage is {stage or 'unknown'}")
    return queries.get_run(trial_id)


def study_of(run: RunRecord) -> RunRecord:
    """Return the run of the study that a run belongs to; a study's own. Raises RunNotFoundError."""
    if run.tags.get(tags.STAGE) == tags.STAGE_SWEEP:
        return run
    trial = run if run.tags.get(tags.LINEAGE_STUDY_RUN) else trial_of(run)
    study_id = trial.tags.get(tags.LINEAGE_STUDY_RUN) or trial.tags.get(tags.PARENT_RUN)
    if study_id is None:
        raise RunNotFoundError(f"run {run.name} ({run.run_id}) belongs to no study")
    return queries.get_run(study_id)


def key_document(study: RunRecord) -> dict[str, JsonValue]:
    """Return what a study's key is the hash of. Raises RunNotFoundError if its run doesn't keep it."""
    text = tags.join_long(tags.STUDY_KEY_DOCUMENT, study.tags)
    if text is None:
        raise RunNotFoundError(f"run {study.name} ({study.run_id}) keeps no key document, so it can't be explained")
    document: dict[str, JsonValue] = json.loads(text)
    return document


def trial_record(trial: RunRecord) -> TrialRecord:
    """Return a trial's record. Raises RunNotFoundError if its run doesn't keep it."""
    text = tags.join_long(tags.TRIAL_RECORD, trial.tags)
    if text is None:
        raise RunNotFoundError(f"run {trial.name} ({trial.run_id}) keeps no trial record")
    return TrialRecord.model_validate_json(text)


def hyperparameters_of(run: RunRecord) -> dict[str, JsonValue]:
    """Return the hyperparameters of the trial that a run belongs to, exact. Raises RunNotFoundError."""
    return dict(trial_record(trial_of(run)).params)
