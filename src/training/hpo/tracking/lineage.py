"""Where a model comes from: each link from its version back to data and commit, checked against what it claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from infrastructure.errors import ConfigError, IdentityError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.naming.differences import differences
from infrastructure.naming.exec_fingerprint import knows_commit
from infrastructure.naming.keys import (
    fold_key_hash,
    identity_of,
    parse_document,
    refit_key_hash,
    study_identity,
    trial_key_hash,
)
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.models import RegisteredVersion, find_version, stored_model_fingerprint
from infrastructure.tracking.mlflow.queries import RunRecord
from training.execution.mlflow_setup import params_as_text
from training.hpo.tracking.references import (
    MODEL_STAGES,
    find_run,
    fold_record,
    key_document,
    protocol,
    recorded_configs,
    study_of,
    trial_of,
    trial_record,
)


@dataclass(frozen=True)
class Link:
    """One thing that a model comes from, and in what it isn't what it claims to be.

    `unchecked` says why it could not be compared with what it claims to be; empty if it was.
    """

    what: str
    shown: str
    problems: tuple[str, ...] = ()
    unchecked: str = ""


def lineage(reference: str, root_dir: Path) -> list[Link]:
    """Return the links from a run or a registered model back to its data and commit; the first lost one ends them.

    `reference` is `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or the id or name of a run. Data is compared with
    what lies in the project at `root_dir`. Raises RunNotFoundError if the reference itself leads nowhere.
    """
    version = find_version(reference) if reference.startswith("models:/") else None
    links: list[Link] = []
    run = None if version is not None else find_run(reference)
    try:
        links.extend(_links(version, run, root_dir))
    except RunNotFoundError as error:
        links.append(Link("lost", "the next link is not in the tracking store", (str(error),)))
    return links


def _links(version: RegisteredVersion | None, run: RunRecord | None, root_dir: Path) -> Iterator[Link]:
    if version is not None:
        run = queries.get_run(version.run_id) if version.run_id else None
        yield _version_link(version, run)
    if run is None:
        return
    stage = run.tags.get(tags.STAGE)
    if stage in MODEL_STAGES:
        yield _model_link(run)
    elif stage == tags.STAGE_FOLD:
        yield _fold_link(run)
    if stage != tags.STAGE_SWEEP:
        yield _trial_link(trial_of(run))
    study = study_of(run)
    yield _study_link(study)
    yield _data_link(study, recorded_configs(run, study), root_dir)
    yield _commit_link(run.tags if tags.EXEC_FINGERPRINT in run.tags else study.tags, root_dir)


def _named(run: RunRecord) -> str:
    return f"{run.name} ({run.run_id})"


def _untrue(claimed: Mapping[str, str], true: Mapping[str, str | None], source: str) -> Iterator[str]:
    """Yield a message for each claim that isn't what it should be by its source."""
    for key, value in true.items():
        if claimed.get(key) != value:
            yield f"{key} is {claimed.get(key, 'absent')}, by {source} it is {value}"


def _unfinished(run: RunRecord) -> tuple[str, ...]:
    return (*_unless(run.is_done, "it isn't done"), *_unless(not run.is_deleted, "its run was deleted"))


def _unless(holds: bool, message: str) -> tuple[str, ...]:
    return () if holds else (message,)


def _version_link(version: RegisteredVersion, run: RunRecord | None) -> Link:
    shown = f"{version.name} version {version.version}"
    if run is None:
        return Link("model version", shown, ("it names no run that made it",))
    made_by = {key: run.tags.get(key) for key in (tags.STUDY_KEY, tags.TRIAL_KEY)}
    problems = (
        *_untrue(version.tags, made_by, "its run"),
        *_unless(version.source.startswith(run.artifact_uri), f"its files are at {version.source}, not with its run"),
    )
    return Link("model version", shown, problems)


def _model_link(run: RunRecord) -> Link:
    trial = trial_of(run)
    trial_key = trial.tags.get(tags.TRIAL_KEY, "")
    differing = protocol(run)
    true = {tags.TRIAL_KEY: trial_key, tags.STUDY_KEY: trial.tags.get(tags.STUDY_KEY)}
    if differing is not None:
        true[tags.REFIT_KEY] = refit_key_hash(trial_key, differing)
    problems = (
        *_unfinished(run),
        *_unless(differing is not None, "it keeps no protocol, so its key can't be checked"),
        *_untrue(run.tags, true, "its trial and protocol"),
        *_untrue(run.tags, {tags.LINEAGE_STUDY_RUN: trial.tags.get(tags.PARENT_RUN)}, "its trial"),
        *_untrue(run.tags, {tags.MODEL_FINGERPRINT: stored_model_fingerprint(run.run_id)}, "its files"),
    )
    return Link("refit" if run.tags[tags.STAGE] == tags.STAGE_REFIT else "final training", _named(run), problems)


def _fold_link(run: RunRecord) -> Link:
    trial = trial_of(run)
    trial_key, fold_idx = trial.tags.get(tags.TRIAL_KEY, ""), run.tags.get(tags.FOLD_INDEX, "-1")
    true = {
        tags.TRIAL_KEY: trial_key,
        tags.STUDY_KEY: trial.tags.get(tags.STUDY_KEY),
        tags.FOLD_KEY: fold_key_hash(trial_key, int(fold_idx)),
    }
    record, in_trial = fold_record(run), trial_record(trial).folds.get(int(fold_idx))
    is_same = record is not None and in_trial is not None and record.metrics == in_trial.metrics
    problems = (
        *_unfinished(run),
        *_untrue(run.tags, true, "its trial"),
        *_unless(is_same, "its metrics aren't those that its trial was judged by"),
    )
    return Link("fold", _named(run), problems)


def _trial_link(run: RunRecord) -> Link:
    study = study_of(run)
    record = trial_record(run)
    metric = str(_field(key_document(study), "hpo", "objective", "metric"))
    values = [fold.metrics[metric] for _, fold in sorted(record.folds.items()) if metric in fold.metrics]
    mean = fmean(values) if values else None
    study_key = study.tags.get(tags.STUDY_KEY, "")
    true = {tags.STUDY_KEY: study_key, tags.TRIAL_KEY: trial_key_hash(study_key, record.params)}
    problems = (
        *_unfinished(run),
        *_untrue(run.tags, true, "its study and record"),
        *_untrue(run.params, params_as_text(record.params), "its record"),
        *_unless(not record.imported_from, f"it was imported from {record.imported_from}, so nobody knows its folds"),
        *_unless(record.state != "complete" or record.value == mean, f"its value isn't its folds' mean, {mean}"),
    )
    return Link("trial", f"{_named(run)}: {record.state}, {metric} {record.value}", problems)


def _field(document: JsonValue, *path: str) -> JsonValue:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _study_link(study: RunRecord) -> Link:
    identity = identity_of(key_document(study))
    true = {
        tags.STUDY_KEY: identity.study_key_hash,
        tags.STUDY_FAMILY: identity.study_family_hash,
        tags.DATA_FINGERPRINT: identity.data_fingerprint,
        tags.EVAL_FINGERPRINT: identity.eval_fingerprint,
        tags.STUDY_KEY_SCHEMA: str(identity.schema_version),
    }
    problems = (
        *_untrue(study.tags, true, "its key document"),
        *_unless(not study.is_deleted, "its run was deleted"),
    )
    return Link("study", f"{_named(study)}: key {study.tags.get(tags.STUDY_KEY)}", problems)


def _data_link(study: RunRecord, configs: Mapping[str, JsonValue], root_dir: Path) -> Link:
    document = key_document(study)
    fingerprint = _field(document, "data", "fingerprint")
    data, hpo, train = (configs.get(name) for name in ("data", "hpo", "train"))
    if not isinstance(data, dict) or not isinstance(hpo, dict):
        return Link("data", f"{fingerprint}", ("the study keeps no configuration, so its data can't be looked for",))
    backbone = study.tags.get(tags.BACKBONE, "")
    try:
        here = study_identity(data, hpo, train if isinstance(train, dict) else None, backbone, root_dir)
    except (IdentityError, ConfigError) as error:
        return Link("data", f"{fingerprint}", unchecked=str(error))
    found = differences(document, parse_document(here.document))
    return Link("data", f"{fingerprint}, compared with {data.get('path')}", tuple(map(str, found)))


def _commit_link(found: Mapping[str, str], root_dir: Path) -> Link:
    commit = found.get(tags.GIT_COMMIT)
    if commit is None:
        return Link("commit", "none", unchecked="the project was not in git")
    changes = " with uncommitted changes" if found.get(tags.GIT_DIRTY) == "true" else ""
    known = knows_commit(root_dir, commit)
    unchecked = "the project is not in git here" if known is None else ""
    problems = _unless(known is not False, "the project's repository has no such commit")
    return Link("commit", f"{commit}{changes}", problems, unchecked)
