"""From what a person calls a run to the run, its study and what they keep."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from infrastructure.errors import RunNotFoundError
from infrastructure.naming import tags
from infrastructure.naming.keys import parse_document
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.records import FoldRecord, TrialRecord

R = TypeVar("R", bound=BaseModel)

MODEL_STAGES: Final = (tags.STAGE_REFIT, tags.STAGE_FINAL)
KEYS: Final = (tags.STAGE, tags.STUDY_KEY, tags.TRIAL_KEY, tags.FOLD_KEY, tags.REFIT_KEY)
"""What the runs of one thing have in common, its variants included."""


def find_run(reference: str) -> RunRecord:
    """Return a run by its id or name, or a study's by the beginning of its key; of several variants the newest.

    Raises RunNotFoundError if there is none, or if there are several that aren't variants of one thing.
    """
    found = queries.find_by_name(reference)
    if not found and len(reference) >= 6:
        studies = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
        found = [run for run in studies if run.tags.get(tags.STUDY_KEY, "").startswith(reference)]
    kinds = {tuple(run.tags.get(key) for key in KEYS) for run in found}
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
    try:
        return parse_document(text)
    except ValueError as error:
        raise RunNotFoundError(f"run {study.name} ({study.run_id}) keeps a damaged key document: {error}") from error


def protocol(run: RunRecord) -> dict[str, JsonValue] | None:
    """Return how a refit or final training differs from its trial, or None. Raises RunNotFoundError if it's damaged."""
    text = tags.join_long(tags.REFIT_PROTOCOL, run.tags)
    return None if text is None else _parsed(run, "protocol", text)


def recorded_configs(*candidates: RunRecord) -> dict[str, JsonValue]:
    """Return the whole configuration that the first of these runs keeps which keeps one; empty if none does."""
    for run in candidates:
        if text := tags.join_long(tags.CONFIG, run.tags):
            return _parsed(run, "configuration", text)
    return {}


def _parsed(run: RunRecord, what: str, text: str) -> dict[str, JsonValue]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RunNotFoundError(f"run {run.name} ({run.run_id}) keeps a damaged {what}: {error}") from error
    if not isinstance(found, dict):
        raise RunNotFoundError(f"run {run.name} ({run.run_id}) keeps a damaged {what}: it is no mapping")
    return found


def trial_record(trial: RunRecord) -> TrialRecord:
    """Return a trial's record. Raises RunNotFoundError if its run doesn't keep it."""
    text = tags.join_long(tags.TRIAL_RECORD, trial.tags)
    if text is None:
        raise RunNotFoundError(f"run {trial.name} ({trial.run_id}) keeps no trial record")
    return _record(TrialRecord, trial, text)


def fold_record(fold: RunRecord) -> FoldRecord | None:
    """Return a fold's record, or None before its training ended. Raises RunNotFoundError if it's damaged."""
    text = tags.join_long(tags.FOLD_RECORD, fold.tags)
    return None if text is None else _record(FoldRecord, fold, text)


def _record(model: type[R], run: RunRecord, text: str) -> R:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise RunNotFoundError(f"run {run.name} ({run.run_id}) keeps a damaged record: {reason}") from error


def hyperparameters_of(run: RunRecord) -> dict[str, JsonValue]:
    """Return the hyperparameters of the trial that a run belongs to, exact. Raises RunNotFoundError."""
    return dict(trial_record(trial_of(run)).params)
