"""MLflow's client for stores that aren't always there: calls are made again until the store answers or time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from requests.exceptions import ChunkedEncodingError, HTTPError, RequestException, RetryError, Timeout
from requests.exceptions import ConnectionError as RequestsConnectionError

from infrastructure.errors import StoreDamagedError, StoreUnreachableError, one_line
from infrastructure.naming import tags
from infrastructure.tracking.mlflow.local_store import shared_sessions, store_file

TEMPORARY: Final = frozenset(
    {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
)
DAMAGE: Final = ("database disk image is malformed", "file is not a database")
"""What SQLite says of a file that has lost its form; MLflow passes it on as a fault that may go away."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts; each pause is twice as long as the one before."""


class StoreClient:
    """Has the methods of `MlflowClient`; each is tried for `patience` seconds, and then raises StoreUnreachableError.

    A run is created once, however often the call has to be made: one that an earlier attempt left behind is found by
    its tag `code.writer`, and a model's version by its run. All other calls that Assay makes may be repeated without
    harm.
    """

    longest_tag = 8_000
    """Characters of a tag that the store keeps."""

    def __init__(self, tracking_uri: str, patience: float) -> None:
        self.tracking_uri = tracking_uri
        self._patience = patience
        self._of_thread = threading.local()
        self._client = MlflowClient(tracking_uri)
        self._sessions = shared_sessions(self._client) if store_file(tracking_uri) is not None else None

    @property
    def patience(self) -> float:
        """For how many seconds this thread tries a call."""
        patience: float = getattr(self._of_thread, "patience", self._patience)
        return patience

    @contextmanager
    def hurried(self, patience: float) -> Iterator[None]:
        """Try the calls of this thread for another number of seconds while the context lasts."""
        before = self.patience
        self._of_thread.patience = patience
        try:
            yield
        finally:
            self._of_thread.patience = before

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the calls of this thread to a local store one transaction: all of them or none; each is tried once."""
        assert self._sessions is not None
        with self.hurried(0), self._sessions.transaction():
            yield

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of MLflow's client, made patient."""
        method = getattr(self._client, name)

        def call(*arguments: object, **keywords: object) -> Any:  # noqa: ANN401  whatever the method returns
            return self.attempt(lambda _: method(*arguments, **keywords))

        return call

    def create_run(
        self, experiment_id: str, run_name: str, run_tags: Mapping[str, str], start_time: int, *, seek: bool = False
    ) -> Run:
        """Create the run of this writer, or return it if an attempt before has; with `seek` the first looks too.

        `start_time` is in milliseconds since 1970.
        """

        def create(attempt: int) -> Run:
            if attempt or seek:
                found = self._client.search_runs([experiment_id], f"tags.`{tags.WRITER}` = '{run_tags[tags.WRITER]}'")
                if found:
                    return min(found, key=lambda run: str(run.info.run_id))
            return self._client.create_run(experiment_id, start_time, dict(run_tags), run_name)

        run: Run = self.attempt(create)
        return run

    def create_version(
        self, name: str, source: str, run_id: str, version_tags: Mapping[str, str], description: str
    ) -> None:
        """Register a run's model as the next version of `name`, unless an attempt before has."""

        def create(attempt: int) -> None:
            if not (attempt and self._client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")):
                self._client.create_model_version(
                    name, source=source, run_id=run_id, tags=dict(version_tags), description=description
                )

        self.attempt(create)

    def download_artifacts(self, run_id: str, path: str, folder: str) -> str:
        """Fetch an artifact that is known to be there; MLflow says of every fault on the way that it isn't."""

        def fetch(_: int) -> str:
            try:
                return str(self._client.download_artifacts(run_id, path, folder))
            except MlflowException as error:
                if self.tracking_uri.startswith("http"):
                    raise MlflowException(error.message, TEMPORARILY_UNAVAILABLE) from error
                raise

        found: str = self.attempt(fetch)
        return found

    def attempt(self, call: Callable[[int], Any]) -> Any:  # noqa: ANN401
        """Make a call until it succeeds or patience is over; it is told how often it was made before."""
        patience = self.patience
        deadline, pause, attempt = time.monotonic() + patience, FIRST_PAUSE, 0
        while True:
            try:
                return call(attempt)
            except (MlflowException, RequestException) as error:
                if is_damage(error):
                    raise damaged(self.tracking_uri, error) from error
                if not is_temporary(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise unreachable(self.tracking_uri, error, patience) from error
            time.sleep(pause)
            pause, attempt = min(2 * pause, LONGEST_PAUSE), attempt + 1


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite says of a store's file that it has lost its form."""
    return any(sign in str(error) for sign in DAMAGE)


def damaged(tracking_uri: str, error: Exception) -> StoreDamagedError:
    """Return the error that says which store is damaged."""
    sign = next(sign for sign in DAMAGE if sign in str(error))
    return StoreDamagedError(
        f"the tracking store {tracking_uri} is damaged ({sign}), so nothing more is written to it; "
        "restore it from a backup, and give the same command again"
    )


def is_temporary(error: MlflowException | RequestException) -> bool:
    """Tell whether the same call may succeed later: the store is away, busy or has failed inside."""
    if isinstance(error, MlflowException):
        return error.error_code in TEMPORARY
    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, (RequestsConnectionError, Timeout, RetryError, ChunkedEncodingError))


def unreachable(tracking_uri: str, error: Exception, seconds: float) -> StoreUnreachableError:
    """Return the error that says which store didn't answer, for how long, and why."""
    return StoreUnreachableError(
        f"the tracking store {tracking_uri} didn't answer for {seconds:g} s: {one_line(error)}"
    )
