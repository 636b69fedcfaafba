"""Single place where MLflow is configured: store, experiment, time-outs (spec: Layer 1, `setup_mlflow`).

The store is the first of these that is given:

1. the argument `tracking_uri`
2. the argument `ml_client`: the store of its Azure ML workspace
3. the environment variable `MLFLOW_TRACKING_URI`
4. `mlflow.yaml`: `azure_ml` when it is enabled, otherwise `tracking_uri`
5. a local SQLite file `mlflow.db` under the project root
"""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

import mlflow
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from infrastructure.azureml.asking import asked
from infrastructure.config.loading import load_mlflow_config
from infrastructure.config.schema import MlflowConfig
from infrastructure.config.schema.names import check_experiment_name
from infrastructure.config.schema.project import AzureMl
from infrastructure.errors import (
    ConfigError,
    ProjectNotFoundError,
    StoreSwitchError,
    StoreUnreachableError,
    TrackingError,
    one_line,
)
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.redaction import redacted, remember_credentials
from infrastructure.tracking.mlflow.local_store import prepare, store_file
from infrastructure.tracking.mlflow.session import AZURE_SCHEME, StoreSession, configured_session, set_session
from infrastructure.tracking.mlflow.store_client import StoreClient, damaged, is_damage

_log = logging.getLogger(__name__)

TRACKING_URI: Final = "MLFLOW_TRACKING_URI"
RUN_ID: Final = "MLFLOW_RUN_ID"
STORE_FILE: Final = "mlflow.db"
ARTIFACT_FOLDER: Final = "mlartifacts"
SERVED: Final = ("postgresql", "postgres", "mysql", "mssql")
"""Databases for `mlflow server`. Without it, files would stay where they were written, and nobody owned a study."""
OPENING: Final = 10.0
"""For how many seconds a store is tried that nobody has used yet; its address may be wrong."""


class _Workspace(Protocol):
    mlflow_tracking_uri: str


class _Workspaces(Protocol):
    def get(self, name: str) -> _Workspace: ...


class WorkspaceClient(Protocol):
    """The part of `azure.ai.ml.MLClient` that is used here."""

    workspace_name: str
    workspaces: _Workspaces


@dataclass(frozen=True)
class _Store:
    """A tracking store and why it was chosen."""

    uri: str
    reason: str
    is_azure: bool = False
    is_projects_own: bool = False


def setup_mlflow(
    experiment_name: str | None = None,
    config_dir: str | Path | None = None,
    *,
    tracking_uri: str | None = None,
    ml_client: WorkspaceClient | None = None,
    fallback_to_local: bool = True,
) -> str:
    """Choose the tracking store and the experiment of this process, and return the tracking URI.

    The order of precedence is this module's docstring. Call it once in an entry point, before any run; calling it
    again with the same choice changes nothing. An Azure ML workspace that can't be used is replaced by the local
    store with a warning, for as long as the process lasts, or raises TrackingError when `fallback_to_local` is off.
    Raises StoreSwitchError when another store is asked for while a run is live, StoreUnreachableError when the store
    doesn't answer, and ConfigError for a name that no experiment may have, and for the address of a database in place
    of a server's.
    """
    root_dir, config = _project(config_dir)
    name = _checked_name(experiment_name) if experiment_name else config.experiment_name
    _set_environment(config)
    store: _Store | None = None
    try:
        store = _choose(config, root_dir, tracking_uri, ml_client, fallback_to_local=fallback_to_local)
        session = _open(store, name, config.store_timeout)
    except TrackingError as error:
        azure_failed = store is None or store.is_azure
        if isinstance(error, StoreSwitchError) or not (azure_failed and fallback_to_local):
            raise
        _log.warning("Azure ML is not used, runs go to the local store instead: %s", error)
        store = _Store(_local_uri(root_dir), "Azure ML can't be used", is_projects_own=True)
        session = _open(store, name, config.store_timeout)
        session.is_fallback = True
    before = configured_session()
    set_session(session)
    _drop_foreign_run_id(session)
    if before is None or (before.tracking_uri, before.experiment_id) != (session.tracking_uri, session.experiment_id):
        _log.info("MLflow: experiment %r in %s (%s)", name, redacted(store.uri), store.reason)
    return store.uri


def _project(config_dir: str | Path | None) -> tuple[Path, MlflowConfig]:
    """Return the project's root and its `mlflow.yaml`. Raises ProjectNotFoundError for a lost config_dir."""
    try:
        root_dir, found = resolve_project_paths_with_fallback(config_dir=config_dir)
    except ProjectNotFoundError:
        # A notebook without a project may still track; its root is where it was started.
        return Path.cwd(), MlflowConfig()
    if not found.is_dir():
        raise ProjectNotFoundError(f"config_dir {found} is no folder: name the project's config folder")
    return root_dir, load_mlflow_config(found)


def _checked_name(experiment_name: str) -> str:
    try:
        return check_experiment_name(experiment_name)
    except ValueError as error:
        raise ConfigError([f"experiment_name: {error}"]) from error


def _set_environment(config: MlflowConfig) -> None:
    os.environ["MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT"] = str(config.artifact_timeout)
    os.environ["AZUREML_ARTIFACTS_DEFAULT_TIMEOUT"] = str(config.artifact_timeout)
    # It repeats the creation of a run without looking whether there is one; Assay's own attempts do look.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # Its bars would run through the display of the work.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Two lines for every run that ends, and a request to a server to find out what it is called.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def _choose(
    config: MlflowConfig,
    root_dir: Path,
    tracking_uri: str | None,
    ml_client: WorkspaceClient | None,
    *,
    fallback_to_local: bool,
) -> _Store:
    if tracking_uri:
        return _Store(tracking_uri, "given as tracking_uri")
    if ml_client is not None:
        return _Store(_client_tracking_uri(ml_client), "the workspace of ml_client", is_azure=True)
    session = configured_session()
    inherited = os.environ.get(TRACKING_URI)
    # MLflow itself writes the variable when a URI is set. A store that came from a project's configuration is not the
    # user's wish for the next project; one that was given, or was in the environment, is.
    is_ours = session is not None and session.is_projects_own and inherited == session.tracking_uri
    if inherited and not is_ours:
        return _Store(inherited, f"{TRACKING_URI} in the environment")
    if config.azure_ml.enabled:
        if session is not None and session.is_fallback and fallback_to_local:
            # What a command does in one step has to be there in the next.
            raise TrackingError("it couldn't be when this process began; start it again to try again")
        uri = _azure_tracking_uri(config.azure_ml)
        return _Store(uri, "azure_ml in mlflow.yaml", is_azure=True, is_projects_own=True)
    if config.tracking_uri:
        uri = _from_root(config.tracking_uri, root_dir)
        return _Store(uri, "tracking_uri in mlflow.yaml", is_projects_own=True)
    return _Store(_local_uri(root_dir), "the project's own store", is_projects_own=True)


def _from_root(uri: str, root_dir: Path) -> str:
    """Return the address of a SQLite file with its path made absolute; relative ones start at the project root."""
    scheme = "sqlite:///"
    return f"{scheme}{root_dir / uri.removeprefix(scheme)}" if uri.startswith(scheme) else uri


def _local_uri(root_dir: Path) -> str:
    return f"sqlite:///{root_dir / STORE_FILE}"


def _client_tracking_uri(ml_client: WorkspaceClient) -> str:
    name = ml_client.workspace_name
    uri: str = asked(f"workspace {name!r}", lambda: ml_client.workspaces.get(name).mlflow_tracking_uri)
    return uri


def _azure_tracking_uri(workspace: AzureMl) -> str:
    uri: str = _azure().workspace_tracking_uri(workspace)
    return uri


def _azure() -> ModuleType:
    try:
        return importlib.import_module("infrastructure.tracking.mlflow.azure")
    except ImportError as error:
        raise TrackingError(
            f"azure_ml needs the package {error.name!r}, which is not installed: pip install 'assay[azure]'"
        ) from error


def _client(tracking_uri: str, patience: float) -> StoreClient:
    """Return the client of a store; that of a database opens it at once."""
    if tracking_uri.startswith(AZURE_SCHEME):
        client: StoreClient = _azure().open_store(tracking_uri, patience)
        return client
    return StoreClient(tracking_uri, patience)


def _open(store: _Store, experiment_name: str, patience: float) -> StoreSession:
    """Set the URI first and the experiment after it, creating either where it isn't there yet."""
    remember_credentials({"tracking_uri": store.uri})
    if store.uri.partition(":")[0].partition("+")[0] in SERVED:
        raise ConfigError(
            [
                f"{redacted(store.uri)} ({store.reason}) is a database, which `mlflow server` is to be started on; "
                "give the server's address, http://HOST:PORT"
            ]
        )
    session = configured_session()
    if session is not None and session.tracking_uri != store.uri and (session.live_runs or mlflow.active_run()):
        raise StoreSwitchError(
            f"the tracking store can't change from {session.tracking_uri} to {store.uri} "
            "while a run is live; end the run first"
        )
    artifacts = None
    before = os.environ.get(TRACKING_URI)
    try:
        file = store_file(store.uri)
        if file is not None:
            prepare(file, file.parent / ARTIFACT_FOLDER)
            artifacts = (file.parent / ARTIFACT_FOLDER).as_uri()
        client = _client(store.uri, patience)
        experiment_id = _experiment_id(client, experiment_name, artifacts)
    except (MlflowException, RequestException, SQLAlchemyError, OSError, StoreUnreachableError) as error:
        _restore_uri(before)
        if is_damage(error):
            raise damaged(store.uri, error) from error
        raise StoreUnreachableError(
            f"the tracking store {store.uri} ({store.reason}) can't be used: {one_line(error)}"
        ) from error
    live = session.live_runs if session is not None and session.tracking_uri == store.uri else set()
    return StoreSession(store.uri, experiment_id, experiment_name, client, store.is_projects_own, live)


def _restore_uri(before: str | None) -> None:
    """Leave no trace of a store that couldn't be opened; an unset URI is MLflow's default again."""
    mlflow.set_tracking_uri(before or "")


def _experiment_id(client: StoreClient, name: str, artifact_location: str | None) -> str:
    mlflow.set_tracking_uri(client.tracking_uri)
    with client.hurried(min(client.patience, OPENING)):
        return _find_or_create(client, name, artifact_location)


def _find_or_create(client: StoreClient, name: str, artifact_location: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            experiment_id: str = client.create_experiment(name, artifact_location=artifact_location)
        except MlflowException:
            # Another process may have created it between the look and the call.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
            experiment_id = experiment.experiment_id
    else:
        experiment_id = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
            _log.warning("experiment %r had been deleted; it is restored", name)
    client.attempt(lambda _: mlflow.set_experiment(experiment_id=experiment_id))
    return experiment_id


def _drop_foreign_run_id(session: StoreSession) -> None:
    run_id = os.environ.get(RUN_ID)
    if not run_id:
        return
    try:
        session.client.get_run(run_id)
    except MlflowException:
        del os.environ[RUN_ID]
        _log.warning("%s=%s was inherited but is no run of this store; it is ignored", RUN_ID, run_id)
