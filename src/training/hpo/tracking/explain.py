"""Why two studies, trials or configurations are not the same."""

from __future__ import annotations

from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.keys import parse_document
from infrastructure.tracking.mlflow import queries
from training.hpo.comparison import Description, not_identity
from training.hpo.tracking.environments import environment_of
from training.hpo.tracking.references import (
    find_run,
    hyperparameters_of,
    key_document,
    protocol,
    recorded_configs,
    study_of,
)


def describe_run(reference: str) -> Description:
    """Return what a run's study or trial is; `reference` is a run's id or name, or the beginning of a study's key.

    Raises RunNotFoundError if there is none, or more than one.
    """
    run = find_run(reference)
    study = study_of(run)
    document = key_document(study)
    other = not_identity(recorded_configs(run, study), document)
    if run.tags.get(tags.TRIAL_KEY):
        document["hyperparameters"] = hyperparameters_of(run)
    if differing := protocol(run):
        document["protocol"] = differing
    if run.tags.get(tags.STAGE) == tags.STAGE_FOLD:
        document["fold_idx"] = int(run.tags[tags.FOLD_INDEX])
    environment = environment_of(run.tags, study.run_id)
    return Description(document, other, {"variant": run.variant, "environment": environment})


def nearest_study(document: str, own_run_id: str) -> tuple[str, list[Difference]] | None:
    """Return the name of the other study that differs in the fewest fields, and those fields; None without another."""
    own = parse_document(document)
    candidates: list[tuple[str, list[Difference]]] = []
    for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}):
        text = tags.join_long(tags.STUDY_KEY_DOCUMENT, run.tags)
        if run.run_id != own_run_id and text:
            candidates.append((run.name, list(differences(parse_document(text), own))))
    return min(candidates, key=lambda candidate: len(candidate[1]), default=None)
