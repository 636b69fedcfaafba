"""Why two studies, trials or configurations are not the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.fingerprints import file_digests
from infrastructure.naming.keys import parse_document
from infrastructure.tracking.mlflow import queries, runs
from training.hpo.comparison import Description, not_identity
from training.hpo.tracking.context import HpoContext
from training.hpo.tracking.environments import environment_of
from training.hpo.tracking.references import (
    find_run,
    hyperparameters_of,
    key_document,
    protocol,
    recorded_configs,
    study_of,
)

DATA_FILES: Final = "data_files.json"
"""The artifact of a study's run that says which of its data files had which content."""


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


@dataclass(frozen=True)
class NearestStudy:
    """The study that differs from another one in the fewest fields: its name, those fields, and the data files."""

    name: str
    differences: list[Difference]
    changed_files: list[str]


def nearest_study(context: HpoContext, own_run_id: str) -> NearestStudy | None:
    """Return the other study that is nearest to this one; None without another."""
    own = parse_document(context.identity.document)
    candidates: list[tuple[queries.RunRecord, list[Difference]]] = []
    for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}):
        text = tags.join_long(tags.STUDY_KEY_DOCUMENT, run.tags)
        if run.run_id != own_run_id and text:
            candidates.append((run, list(differences(parse_document(text), own))))
    if not candidates:
        return None
    run, found = min(candidates, key=lambda candidate: len(candidate[1]))
    is_other_data = any(difference.field == "data.fingerprint" for difference in found)
    return NearestStudy(run.name, found, _changed_files(run.run_id, context) if is_other_data else [])


def data_files(context: HpoContext) -> str:
    """Return the digests of a study's data files by their names, as JSON; of data that lies elsewhere, none."""
    path = json.loads(context.configs).get("data", {}).get("path")
    if path is None or not (found := context.root_dir / Path(path).expanduser()).exists():
        return "{}"
    return json.dumps({name or found.name: digest.hex() for name, digest in file_digests(found).items()})


def _changed_files(study_run_id: str, context: HpoContext) -> list[str]:
    """Return the names of the data files that another study had with other content, or hadn't, or had besides."""
    kept = runs.read_text(study_run_id, DATA_FILES)
    before, now = json.loads(kept or "{}"), json.loads(data_files(context))
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name)) if kept else []
