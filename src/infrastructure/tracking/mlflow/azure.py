"""The tracking store of an Azure ML workspace: where its plugin, its service and MLflow disagree; needs extra `azure`.

Written against azureml-mlflow 1.62.0.post6, which needs MLflow 3.15.0 or older, and azure-ai-ml 1.35.2:

- azureml-mlflow below 1.62 doesn't take the argument `tracking_uri` that MLflow 3.2 and newer give its builder of
  artifact stores; `pyproject.toml` keeps it away.
- The plugin asks in a browser where nothing else gives a token; here it gets a chain of credentials that doesn't.
- The plugin raises errors of `azure.core`, and plain ones; here they become MLflow's.
- The service answers 404 to MLflow's logged models and to aliases. Models are saved and sent as plain artifacts
  everywhere (docs/decisions/0004), and the artifacts of a run are listed and fetched here without MLflow's look for
  logged models among them; an alias is a tag of the version.
- The service refuses an artifact that it has, and the new ones of the same request then stay empty for good. So what
  is there is looked for first, and stays. The plugin lists what begins like a folder's name as well.
- A run has 200 parameters, 50 tags of 1,000 characters, and takes 250 values of a metric at a time.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azureml.mlflow._common._cloud.cloud import _get_cloud_or_default
from azureml.mlflow._internal.service_context_loader import _AzureMLServiceContextLoader, _mlflow_env_vars_set
from azureml.mlflow._internal.utils import ServiceContext
from mlflow.entities import FileInfo, Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_STATE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from infrastructure.azureml.asking import asked
from infrastructure.azureml.workspace import credential, workspace_client
from infrastructure.config.schema.project import AzureMl
from infrastructure.errors import RunNotFoundError, TrackingError, one_line
from infrastructure.naming import tags as tag_keys
from infrastructure.tracking.mlflow.store_client import StoreClient

_log = logging.getLogger(__name__)

PARAMS_A_RUN: Final = 200
TOO_MANY_PARAMS: Final = "FieldName=Parameters"
EMPTY: Final = "BlobNotFound"
CONFLICT: Final = "Resource Conflict"
TOKEN: Final = "MLFLOW_TRACKING_TOKEN"  # noqa: S105  the name of a variable
WORKSPACE_PARTS: Final = 8
"""Of a workspace's path: `subscriptions`, its id, `resourceGroups`, …"""


def workspace_tracking_uri(workspace: AzureMl) -> str:
    """Ask the workspace for its tracking URI. Raises TrackingError if it can't be asked."""
    _name_cloud()
    client = workspace_client(workspace)
    uri: str = asked(
        f"workspace {workspace.workspace_name!r}",
        lambda: client.workspaces.get(workspace.workspace_name).mlflow_tracking_uri,
    )
    return uri


def open_store(tracking_uri: str, patience: float) -> AzureStoreClient:
    """Return a client for a workspace's store; raise TrackingError if there is no credential for it.

    On a job of Azure ML the plugin takes the job's own token, and renews it.
    """
    _name_cloud()
    os.environ.setdefault("AZUREML_HTTP_REQUEST_TIMEOUT", "30")
    if not _mlflow_env_vars_set() and not _AzureMLServiceContextLoader.has_service_context(tracking_uri):
        _AzureMLServiceContextLoader.add_service_context(tracking_uri, _service_context(tracking_uri))
    context = asked(
        "a credential for Azure ML", lambda: _AzureMLServiceContextLoader.load_service_context(tracking_uri)
    )
    asked("a credential for Azure ML", lambda: context.auth.get_token(context.cloud._get_default_scope()))
    return AzureStoreClient(tracking_uri, patience)


def _name_cloud() -> None:
    """Keep the plugin from asking which clouds there are; who uses another one than the public names it."""
    os.environ.setdefault("AZUREML_CURRENT_CLOUD", "AzureCloud")


def _service_context(tracking_uri: str) -> ServiceContext:
    address = urlsplit(tracking_uri)
    parts = address.path.partition("/subscriptions/")[2].split("/")
    if len(parts) < WORKSPACE_PARTS - 1:
        raise TrackingError(
            f"{tracking_uri} names no workspace; allowed: azureml://HOST/mlflow/v2.0/subscriptions/ID/resourceGroups/"
            "GROUP/providers/Microsoft.MachineLearningServices/workspaces/NAME"
        )
    return ServiceContext(
        host_url=f"https://{address.netloc}",
        subscription_id=parts[0],
        resource_group_name=parts[2],
        workspace_name=parts[6],
        auth=credential(),
        cloud=_get_cloud_or_default(),
    )


class AzureStoreClient(StoreClient):
    """A patient client whose errors are MLflow's, and which knows what the workspace refuses."""

    longest_tag = 1_000

    def attempt(self, call: Callable[[int], Any]) -> Any:  # noqa: ANN401
        """Make a call until it succeeds or patience is over."""

        def translated(attempt: int) -> Any:  # noqa: ANN401
            try:
                return call(attempt)
            except AzureError as error:
                raise MlflowException(one_line(error), _error_code(error)) from error
            except Exception as error:
                if type(error) is not Exception:  # the plugin's own are of no other type
                    raise
                code = INVALID_STATE if CONFLICT in str(error) else RESOURCE_DOES_NOT_EXIST
                raise MlflowException(one_line(error), code) from error

        return super().attempt(translated)

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        """Write to a run; of its parameters, as many as it has room for."""
        send = super().__getattr__("log_batch")
        try:
            send(run_id, metrics=metrics, params=params, tags=tags)
        except MlflowException as error:
            if TOO_MANY_PARAMS not in str(error):
                raise
            there = self.get_run(run_id).data.params
            new = [param for param in params if param.key not in there]
            kept = new[: PARAMS_A_RUN - len(there)]
            _log.warning(
                "Azure ML keeps %s parameters of a run; of %s, %s are in the trial's record alone",
                *(PARAMS_A_RUN, run_id, len(new) - len(kept)),
            )
            send(run_id, metrics=metrics, params=kept, tags=tags)

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[FileInfo]:
        """Return what is right below a folder of a run."""
        store = self._artifacts(run_id)
        found: list[FileInfo] = self.attempt(lambda _: store.list_artifacts(path))
        return [file for file in found if path is None or file.path.startswith(f"{path}/")]

    def download_artifacts(self, run_id: str, path: str, folder: str) -> str:
        """Fetch an artifact that is known to be there; raise RunNotFoundError for one that nobody filled."""
        store = self._artifacts(run_id)

        def fetch(_: int) -> str:
            try:
                return str(store.download_artifacts(path, folder))
            except MlflowException as error:  # of every fault on the way
                if EMPTY in str(error):
                    raise RunNotFoundError(
                        f"{path} of run {run_id} is empty for good: who was to fill it was killed in between, and "
                        "Azure ML takes it from nobody else"
                    ) from error
                raise MlflowException(error.message, TEMPORARILY_UNAVAILABLE) from error

        found: str = self.attempt(fetch)
        return found

    def _artifacts(self, run_id: str) -> ArtifactRepository:
        return get_artifact_repository(self.get_run(run_id).info.artifact_uri)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Keep a text with a run, unless the run has a file of this name."""
        path = PurePosixPath(artifact_file)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            file.write_text(text)
            self._keep(run_id, file, "" if str(path.parent) == "." else str(path.parent))

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str) -> None:
        """Keep a folder's files with a run, but for those that the run has."""
        if not self.list_artifacts(run_id, artifact_path):
            super().__getattr__("log_artifacts")(run_id, local_dir, artifact_path)
            return
        for file in sorted(path for path in Path(local_dir).rglob("*") if path.is_file()):
            parent = file.relative_to(local_dir).parent
            self._keep(run_id, file, str(PurePosixPath(artifact_path, *parent.parts)))

    def _keep(self, run_id: str, file: Path, folder: str) -> None:
        try:
            super().__getattr__("log_artifact")(run_id, str(file), folder or None)
        except MlflowException as error:
            if CONFLICT not in str(error):
                raise
            self._say_if_another(run_id, file, f"{folder}/{file.name}" if folder else file.name)

    def _say_if_another(self, run_id: str, file: Path, artifact_file: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                is_same = Path(self.download_artifacts(run_id, artifact_file, folder)).read_bytes() == file.read_bytes()
            except RunNotFoundError as error:
                _log.warning("%s", error)
                return
        if not is_same:
            _log.warning(
                "Azure ML overwrites no artifact: %s of run %s stays as it was first kept", artifact_file, run_id
            )

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Give a version of a model an alias, as a tag, and take it from the others."""
        key = f"{tag_keys.MODEL_ALIAS}.{alias}"
        for other in self.search_model_versions(f"name = '{name}'"):
            if key in other.tags and str(other.version) != version:
                self.delete_model_version_tag(name, str(other.version), key)
        self.set_model_version_tag(name, version, key, "true")

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version of a model that has an alias."""
        key = f"{tag_keys.MODEL_ALIAS}.{alias}"
        found = [version for version in self.search_model_versions(f"name = '{name}'") if key in version.tags]
        if not found:
            raise MlflowException(f"no version of {name!r} has the alias {alias!r}", RESOURCE_DOES_NOT_EXIST)
        return found[0]


def _error_code(error: AzureError) -> int:
    """Return MLflow's code for an error of Azure's libraries."""
    if isinstance(error, ResourceExistsError):
        return INVALID_STATE
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status is None or status in {401, 408, 429} or status >= 500:  # a credential that has run out is given anew
        return TEMPORARILY_UNAVAILABLE
    return RESOURCE_DOES_NOT_EXIST if status == 404 else PERMISSION_DENIED
