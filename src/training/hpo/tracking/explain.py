"""Why two studies, trials or configurations are not the same."""

from __future__ import annotations

import json

from pydantic import JsonValue

from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.tracking.mlflow import queries
from training.hpo.comparison import Description
from training.hpo.tracking.environments import environment_of
from training.hpo.tracking.references import find_run, hyperparameters_of, key_document, study_of

OTHER_TAGS = {tags.STUDY_NAME: "study_name", tags.VARIANT: "variant"}


def describe_run(reference: str) -> Description:
    """Return what a run's study or trial is; `reference` is a run's id or name, or the beginning of a study's key.

    Raises RunNotFoundError if there is none, or more than one.
    """
    run = find_run(reference)
    study = study_of(run)
    document = key_document(study)
    if run.tags.get(tags.TRIAL_KEY):
        document["hyperparameters"] = hyperparameters_of(run)
    known = {name: run.tags.get(tag, study.tags.get(tag, "")) for tag, name in OTHER_TAGS.items()}
    other: dict[str, JsonValue] = {name: value for name, value in known.items() if value}
    return Description(document, {**other, "environment": environment_of(run.tags, study.run_id)})


def nearest_study(document: str, own_run_id: str) -> tuple[str, list[Difference]] | None:
    """Return the name of the other study that differs in the fewest fields, and those fields; None without another."""
    own: dict[str, JsonValue] = json.loads(document)
    candidates: list[tuple[str, list[Difference]]] = []
    for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}):
        text = tags.join_long(tags.STUDY_KEY_DOCUMENT, run.tags)
        if run.run_id != own_run_id and text:
            candidates.append((run.name, list(differences(json.loads(text), own))))
    return min(candidates, key=lambda candidate: len(candidate[1]), default=None)
