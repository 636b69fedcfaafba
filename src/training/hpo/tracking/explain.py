"""Why two studies, trials or configurations are not the same."""

from __future__ import annotations

import json

from pydantic import JsonValue

from infrastructure.errors import RunNotFoundError
from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.tracking.mlflow import queries
from training.hpo.comparison import Description
from training.hpo.records import TrialRecord

OTHER_TAGS = {tags.STUDY_NAME: "study_name", tags.GIT_COMMIT: "git_commit", tags.GIT_DIRTY: "git_dirty"}


def describe_run(reference: str) -> Description:
    """Return what a run's study or trial is; `reference` is a run's id or name, or the beginning of a study's key.

    Raises RunNotFoundError if there is none, or more than one.
    """
    run = _find(reference)
    study = run if run.tags.get(tags.STAGE) == tags.STAGE_SWEEP else _study_of(run)
    text = tags.join_long(tags.STUDY_KEY_DOCUMENT, study.tags)
    if text is None:
        raise RunNotFoundError(f"run {study.name} keeps no key document, so it can't be explained")
    document: dict[str, JsonValue] = json.loads(text)
    if run.tags.get(tags.TRIAL_KEY):
        document["hyperparameters"] = _hyperparameters(run)
    return Description(document, {name: run.tags.get(tag, study.tags.get(tag, "")) for tag, name in OTHER_TAGS.items()})


def _find(reference: str) -> queries.RunRecord:
    found = queries.find_by_name(reference)
    if not found and len(reference) >= 6:
        studies = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
        found = [run for run in studies if run.tags.get(tags.STUDY_KEY, "").startswith(reference)]
    if len(found) > 1:
        ids = ", ".join(run.run_id for run in found)
        raise RunNotFoundError(f"{reference!r} is the name of {len(found)} runs; name one by its id: {ids}")
    return found[0] if found else queries.get_run(reference)


def _study_of(run: queries.RunRecord) -> queries.RunRecord:
    wanted = {tags.STUDY_KEY: run.tags.get(tags.STUDY_KEY, ""), tags.STAGE: tags.STAGE_SWEEP}
    found = queries.find_runs(wanted)
    if not found:
        raise RunNotFoundError(f"the study of run {run.name} is not in the tracking store")
    return found[-1]


def _hyperparameters(run: queries.RunRecord) -> dict[str, JsonValue]:
    text = tags.join_long(tags.TRIAL_RECORD, run.tags)
    if text is not None:
        return dict(TrialRecord.model_validate_json(text).params)
    wanted = {tags.TRIAL_KEY: run.tags[tags.TRIAL_KEY], tags.STAGE: tags.STAGE_TRIAL}
    for trial in queries.find_runs(wanted):
        return _hyperparameters(trial)
    raise RunNotFoundError(f"the trial of run {run.name} is not in the tracking store")


def nearest_study(document: str, own_run_id: str) -> tuple[str, list[Difference]] | None:
    """Return the name of the other study that differs in the fewest fields, and those fields; None without another."""
    own: dict[str, JsonValue] = json.loads(document)
    candidates: list[tuple[str, list[Difference]]] = []
    for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}):
        text = tags.join_long(tags.STUDY_KEY_DOCUMENT, run.tags)
        if run.run_id != own_run_id and text:
            candidates.append((run.name, list(differences(json.loads(text), own))))
    return min(candidates, key=lambda candidate: len(candidate[1]), default=None)
