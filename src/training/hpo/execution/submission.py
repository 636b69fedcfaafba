"""A sweep as a job on compute elsewhere; its results come by the tracking store that both reach."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from infrastructure.config.loading import ProjectConfig
from infrastructure.config.schema.project import AzureMl
from infrastructure.errors import ConfigError, MissingExtraError
from infrastructure.paths.utils import output_folder
from training.hpo.execution.project import load_and_check

SECRETS: Final = (".env", ".git", ".azure")
STORES: Final = ("mlflow.db*", ".mlflow.db.lock", "mlartifacts", "mlruns", ".assay")
"""A local tracking store, by the names of its files."""
WORKSPACE: Final = ("subscription_id", "resource_group", "workspace_name")


@dataclass(frozen=True)
class AzureSubmission:
    """A job of Azure ML that runs `assay sweep`: its YAML, and the workspace that it is for."""

    text: str
    workspace: AzureMl

    def start(self) -> str:
        """Submit it, and return the address at which it can be watched."""
        missing = [name for name in WORKSPACE if not getattr(self.workspace, name)]
        if missing:
            raise ConfigError([f"azure_ml needs {', '.join(missing)} to submit a job; see mlflow.yaml"])
        address: str = _jobs().submit(self.workspace, self.text)
        return address


def azure_submission(config_dir: str | Path | None, overrides: Sequence[str]) -> AzureSubmission:
    """Return the job for a project; asks nobody, and needs no credential.

    Raises ConfigError with what is wrong, and MissingExtraError without Azure's packages.
    """
    jobs = _jobs()
    config = load_and_check(config_dir, overrides)
    settings = config.mlflow.azure_ml.job
    jobs.check_snapshot(config.root_dir, list(_unwanted(config)))
    text: str = jobs.job_text(
        settings,
        config.root_dir,
        _command(config, overrides, jobs.DATA),
        config.mlflow.experiment_name,
        f"assay sweep {config.hpo.study_name}",
    )
    return AzureSubmission(text, config.mlflow.azure_ml)


def _command(config: ProjectConfig, overrides: Sequence[str], data: str) -> str:
    """Return what the job runs: the store is that of its workspace, as the job's own environment names it."""
    own = ["mlflow.azure_ml.enabled=false", *([f"data.path={data}"] if config.mlflow.azure_ml.job.data else [])]
    folder = config.config_dir.resolve().relative_to(config.root_dir.resolve()).as_posix()
    return shlex.join(["assay", "sweep", "--config-dir", folder, *overrides, *own])


def _unwanted(config: ProjectConfig) -> list[Path]:
    """Return what there is in the project's folder that isn't to be uploaded with the code."""
    root = config.root_dir
    places = [output_folder(root, config.paths.output_dir), *(root / name for name in SECRETS)]
    if config.mlflow.azure_ml.job.data and config.data.path:
        places.append(root / config.data.path)
    return [
        *(path for path in places if path.exists() and path.is_relative_to(root)),
        *(path for name in STORES for path in root.glob(name)),
    ]


def _jobs() -> ModuleType:
    try:
        return importlib.import_module("infrastructure.azureml.jobs")
    except ImportError as error:
        raise MissingExtraError("assay submit --azureml", "azure", str(error.name)) from error
