"""Command jobs on the compute of an Azure ML workspace, and what is uploaded for them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml
from azure.ai.ml import load_job
from azure.ai.ml._utils._asset_utils import get_ignore_file
from azure.ai.ml.entities import Job
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import AzureError

from infrastructure.azureml.asking import asked
from infrastructure.azureml.workspace import credential, workspace_client
from infrastructure.config.schema.project import AzureJob, AzureMl
from infrastructure.errors import ConfigError, ExecutionError, one_line

SCOPE: Final = "https://management.azure.com/.default"
DATA: Final = "${{inputs.data}}"
"""Stands for the folder where the job finds its data."""
REGISTERED: Final = "azureml:"
PYTHON: Final = "python=3.11"
LONGEST_LINE: Final = 1_000
"""Characters of a line of YAML; a command is one line."""


def job_text(settings: AzureJob, root_dir: Path, command: str, experiment_name: str, display_name: str) -> str:
    """Return a command job as YAML, as the SDK's own loader takes it; raise ConfigError for what it refuses.

    The project's folder is the code that is uploaded, and where `command` is given.
    """
    document: dict[str, object] = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "type": "command",
        "experiment_name": experiment_name,
        "display_name": display_name,
        "code": str(root_dir),
        "command": command,
        "environment": _environment(settings),
    }
    if settings.compute:
        document["compute"] = f"{REGISTERED}{settings.compute}"
    if settings.instance_type:
        document["resources"] = {"instance_type": settings.instance_type, "instance_count": 1}
    if settings.spot:
        document["queue_settings"] = {"job_tier": "Spot"}
    if settings.data is not None:
        path = _data(settings.data, root_dir)
        document["inputs"] = {"data": {"type": "uri_folder", "mode": "ro_mount", "path": path}}
    if settings.environment_variables:
        document["environment_variables"] = dict(settings.environment_variables)
    text = yaml.safe_dump(document, sort_keys=False, width=LONGEST_LINE)
    try:
        loaded(text)
    except ValidationException as error:
        raise ConfigError([f"azure_ml.job: Azure ML's own rules refuse it: {one_line(error)}"]) from error
    return text


def loaded(text: str) -> Job:
    """Return a job as the SDK reads it; raise the SDK's ValidationException for what isn't one."""
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # queue settings are called experimental, twice
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / "job.yml").write_text(text)
        return load_job(file)


def _environment(settings: AzureJob) -> str | dict[str, object]:
    if settings.environment:
        return settings.environment
    if not settings.image:
        raise ConfigError(
            ["azure_ml.job needs environment, such as azureml:NAME@latest, or image, in which requirements go"]
        )
    dependencies = [PYTHON, "pip", {"pip": list(settings.requirements)}]
    conda = {"name": "assay", "channels": ["conda-forge"], "dependencies": dependencies}
    return {"image": settings.image, "conda_file": conda}


def _data(data: str, root_dir: Path) -> str:
    if data.startswith(REGISTERED):
        return data
    path = root_dir / data
    if not path.is_dir():
        raise ConfigError([f"azure_ml.job.data: {path} is no folder; name one, or a data asset: azureml:NAME@latest"])
    return str(path)


def check_snapshot(root_dir: Path, unwanted: Sequence[Path]) -> None:
    """Raise ConfigError if what would be uploaded with the project's folder has files of these, by the SDK's rules."""
    ignored = get_ignore_file(root_dir)
    found = [path for path in unwanted if any(not ignored.is_file_excluded(file) for file in _files(path))]
    if found:
        names = ", ".join(sorted(path.relative_to(root_dir).as_posix() for path in found))
        listed = root_dir / ".amlignore"
        raise ConfigError([f"{root_dir}: {names} would be uploaded with the code; name them in {listed}, a line each"])


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else iter([path])


def submit(workspace: AzureMl, text: str) -> str:
    """Upload the code and start a job; return the address at which it can be watched.

    Raises TrackingError without a credential, and ExecutionError for a job that the workspace doesn't take.
    """
    asked("a credential for Azure ML", lambda: credential().get_token(SCOPE))
    try:
        started = workspace_client(workspace).jobs.create_or_update(loaded(text))
    except (AzureError, ValidationException) as error:
        raise ExecutionError(f"the job wasn't submitted: {one_line(error)}") from error
    return str(started.studio_url)
