"""The naming context and the run name of a study (spec: Layer 2, `setup_hpo_mlflow_run`)."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from infrastructure.config.loading import load_naming_config
from infrastructure.naming import tags
from infrastructure.naming.keys import SCHEMA_V2, Config, StudyIdentity
from infrastructure.naming.run_names import RunLabels, run_name
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.redaction import credential_fields, remember_credentials, without_credentials
from infrastructure.tracking.mlflow.hash_utils import compute_study_identity, get_or_compute_study_key_hash
from infrastructure.tracking.mlflow.session import current_session
from training.hpo.tracking.context import HpoContext

_log = logging.getLogger(__name__)


def setup_hpo_mlflow_run(
    backbone: str,
    study_name: str,
    output_dir: str | Path,
    run_id: str,
    should_resume: bool,
    checkpoint_enabled: bool,
    data_config: Config | None = None,
    hpo_config: Config | None = None,
    train_config: Config | None = None,
    study_key_hash: str | None = None,
    config_dir: str | Path | None = None,
) -> tuple[HpoContext, str]:
    """Return a study's context and the name of its run; nothing is created and nothing configured.

    A `study_key_hash` that is given is used as it is. Raises MlflowNotConfiguredError before `setup_mlflow()`, and
    IdentityError when no key hash can be had.
    """
    current_session()
    root_dir, found = resolve_project_paths_with_fallback(output_dir=output_dir, config_dir=config_dir)
    identity = _identity(study_key_hash, data_config, hpo_config, train_config, backbone, found)
    context = HpoContext(
        backbone=backbone,
        study_name=study_name,
        identity=identity,
        naming=load_naming_config(found),
        root_dir=root_dir,
        config_dir=found,
        output_dir=Path(output_dir),
        run_id=run_id,
        should_resume=should_resume,
        checkpoint_enabled=checkpoint_enabled,
        configs=_kept({"data": data_config, "hpo": hpo_config, "train": train_config}),
    )
    return context, study_run_name(context)


def _kept(configs: Mapping[str, Config | None]) -> str:
    """Return the configurations as JSON, without credentials; the user is told of each."""
    values = {
        section: config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
        for section, config in configs.items()
        if config is not None
    }
    for field in credential_fields(values):
        _tell(field)
    remember_credentials(values)
    return json.dumps(without_credentials(values), ensure_ascii=False)


@functools.cache
def _tell(field: str) -> None:
    """Say once that a field is a credential."""
    file, _, key = field.partition(".")
    _log.info("%s.yaml %s looks like a credential: it isn't kept with the runs and counts for no key", file, key)


def study_run_name(context: HpoContext) -> str:
    """Return the name of a study's run."""
    return run_name(context.naming, tags.STAGE_SWEEP, RunLabels(context.backbone, context.study_key_hash))


def _identity(
    given: str | None,
    data_config: Config | None,
    hpo_config: Config | None,
    train_config: Config | None,
    backbone: str,
    config_dir: Path,
) -> StudyIdentity:
    if data_config is None or hpo_config is None:
        key = get_or_compute_study_key_hash(given, None, data_config, hpo_config, train_config, backbone, config_dir)
        # Only the key is known: the fingerprints stay empty, and no tag is written for them.
        return StudyIdentity(key, "", SCHEMA_V2, "", "", "")
    identity = compute_study_identity(data_config, hpo_config, train_config, backbone, config_dir)
    return replace(identity, study_key_hash=given) if given else identity
