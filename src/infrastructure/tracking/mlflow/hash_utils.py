"""Single place where key hashes are read from runs or computed (spec: Layer 1, `hash_utils`).

Each `get_or_compute_*` takes the first that it can have: the hash that was given, the one in the run's tags, the one
computed from the configurations. `config_dir` tells where relative data paths start; the functions that only read a
run take it because the spec's signatures have it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import JsonValue

from infrastructure.errors import IdentityError
from infrastructure.naming import tags
from infrastructure.naming.keys import Config, StudyIdentity, study_identity
from infrastructure.naming.keys import trial_key_hash as hash_trial
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.tracking.mlflow.session import current_session

_log = logging.getLogger(__name__)


def get_or_compute_study_key_hash(
    study_key_hash: str | None = None,
    hpo_parent_run_id: str | None = None,
    data_config: Config | None = None,
    hpo_config: Config | None = None,
    train_config: Config | None = None,
    backbone: str | None = None,
    config_dir: str | Path | None = None,
) -> str:
    """Return a study's key hash: the one given, else the tag of its run, else computed from the configurations.

    Without `train_config` a v1 key is computed, with a warning; it never equals a v2 key. Raises IdentityError,
    which lists what was missing, when none can be had.
    """
    if study_key_hash:
        return study_key_hash
    if hpo_parent_run_id and (found := get_study_key_hash_from_run(hpo_parent_run_id, config_dir=config_dir)):
        return found
    if data_config is None or hpo_config is None or not backbone:
        given = {"data_config": data_config, "hpo_config": hpo_config, "backbone": backbone or None}
        missing = ", ".join(name for name, value in given.items() if value is None)
        tag = f"run {hpo_parent_run_id} has no tag {tags.STUDY_KEY}" if hpo_parent_run_id else "hpo_parent_run_id"
        raise IdentityError(
            f"no study key hash: study_key_hash was not given, {tag}{'' if hpo_parent_run_id else ' was not given'}, "
            f"and to compute it {missing} is missing"
        )
    return compute_study_identity(data_config, hpo_config, train_config, backbone, config_dir).study_key_hash


def compute_study_identity(
    data_config: Config,
    hpo_config: Config,
    train_config: Config | None,
    backbone: str,
    config_dir: str | Path | None = None,
) -> StudyIdentity:
    """Compute a study's whole identity from its configurations: v2 with `train_config`, v1 with a warning without."""
    if train_config is None:
        _log.warning("no train_config: the study key is v1, which never counts as the same study as a v2 key")
    return study_identity(data_config, hpo_config, train_config, backbone, _root_dir(config_dir))


def compute_study_key_hash_v2(
    data_config: Config, hpo_config: Config, train_config: Config, model: str, config_dir: str | Path | None = None
) -> str:
    """Compute a study's v2 key hash; `model` is the backbone.

    Raises IdentityError if data can't be read, or without `train_config`, which a v2 key can't do without.
    """
    if train_config is None:
        raise IdentityError("a v2 study key needs train_config; without one, get_or_compute_study_key_hash() gives v1")
    return study_identity(data_config, hpo_config, train_config, model, _root_dir(config_dir)).study_key_hash


def _root_dir(config_dir: str | Path | None) -> Path:
    """Return what relative data paths start from: the project of `config_dir`, or the working directory."""
    return Path.cwd() if config_dir is None else resolve_project_paths_with_fallback(config_dir=config_dir)[0]


def get_or_compute_trial_key_hash(
    trial_key_hash: str | None = None,
    trial_run_id: str | None = None,
    study_key_hash: str | None = None,
    hyperparameters: Mapping[str, JsonValue] | None = None,
    config_dir: str | Path | None = None,
) -> str:
    """Return a trial's key hash: the one given, else the tag of its run, else of its study and hyperparameters.

    Raises IdentityError, which lists what was missing, when none can be had.
    """
    if trial_key_hash:
        return trial_key_hash
    if trial_run_id and (found := get_trial_key_hash_from_run(trial_run_id, config_dir=config_dir)):
        return found
    if not study_key_hash or hyperparameters is None:
        given = {"study_key_hash": study_key_hash or None, "hyperparameters": hyperparameters}
        missing = ", ".join(name for name, value in given.items() if value is None)
        tag = f"run {trial_run_id} has no tag {tags.TRIAL_KEY}" if trial_run_id else "trial_run_id was not given"
        raise IdentityError(
            f"no trial key hash: trial_key_hash was not given, {tag}, and to compute it {missing} is missing"
        )
    return hash_trial(study_key_hash, hyperparameters)


def get_study_key_hash_from_run(
    run_id: str, mlflow_client: MlflowClient | None = None, config_dir: str | Path | None = None
) -> str | None:
    """Return the study key hash in a run's tags, or None if it has none; the legacy tag key is read too."""
    found = _tags(run_id, mlflow_client)
    return found.get(tags.STUDY_KEY) or found.get(tags.STUDY_KEY_LEGACY)


def get_trial_key_hash_from_run(
    run_id: str, mlflow_client: MlflowClient | None = None, config_dir: str | Path | None = None
) -> str | None:
    """Return the trial key hash in a run's tags, or None if it has none."""
    return _tags(run_id, mlflow_client).get(tags.TRIAL_KEY)


def _tags(run_id: str, client: MlflowClient | None) -> dict[str, str]:
    """Return a run's tags; of a run that doesn't exist there are none, and a warning says so."""
    try:
        run = (client or current_session().client).get_run(run_id)
    except MlflowException as error:
        _log.warning("no key hash is read from run %s: %s", run_id, error.message)
        return {}
    return dict(run.data.tags)
