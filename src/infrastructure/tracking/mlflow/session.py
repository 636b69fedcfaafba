"""Which tracking store this process writes to: set by `setup_mlflow()`, asked for by everything below it."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import requests

from infrastructure.errors import MlflowNotConfiguredError
from infrastructure.tracking.mlflow.local_store import store_file
from infrastructure.tracking.mlflow.store_client import StoreClient

AZURE_SCHEME: Final = "azureml://"
"""Begins the address of an Azure ML workspace's store, which is reached over https."""


@dataclass
class StoreSession:
    """The store and the experiment that `setup_mlflow()` chose, and the runs of ours that are live in it.

    `is_projects_own` tells that the store came from a project's configuration, not from an argument or the environment;
    `is_fallback` that it took the place of an Azure ML workspace. `measured` has the value of each metric and step of
    the runs that were taken up, as it was then.
    """

    tracking_uri: str
    experiment_id: str
    experiment_name: str
    client: StoreClient
    is_projects_own: bool
    live_runs: set[str] = field(default_factory=set)
    measured: dict[str, dict[tuple[str, int], float]] = field(default_factory=dict)
    is_fallback: bool = False

    @property
    def store_folder(self) -> Path | None:
        """The folder of a local store, or None for one that is reached over a network."""
        file = store_file(self.tracking_uri)
        return None if file is None else file.parent

    @property
    def address(self) -> str:
        """Where the store is reached over http or https, or an empty text for one that isn't."""
        uri = self.tracking_uri
        address = uri.replace(AZURE_SCHEME, "https://", 1) if uri.startswith(AZURE_SCHEME) else uri
        return address if address.startswith("http") else ""


def store_time() -> float:
    """Return what time it is by the clock of the tracking server, in seconds since 1970, to the second.

    Raises StoreUnreachableError if the server doesn't answer.
    """
    session = current_session()

    def dated(_: int) -> str:
        answer = requests.get(f"{session.address}/health", timeout=30)
        if "Date" not in answer.headers:  # the server dates its answers; this one is of something on the way to it
            raise requests.ConnectionError(f"the answer {answer.status_code} is without a date")
        return answer.headers["Date"]

    return parsedate_to_datetime(session.client.attempt(dated)).timestamp()


class _Current:
    """Holds the session of this process; MLflow's own tracking URI is process-wide too."""

    session: StoreSession | None = None


def current_session() -> StoreSession:
    """Return the session of this process. Raises MlflowNotConfiguredError before `setup_mlflow()`."""
    if _Current.session is None:
        raise MlflowNotConfiguredError
    return _Current.session


def configured_session() -> StoreSession | None:
    """Return the session of this process, or None before `setup_mlflow()`."""
    return _Current.session


def set_session(session: StoreSession | None) -> None:
    """Make this the session of the process; for `setup_mlflow()` and for tests that begin afresh."""
    _Current.session = session
