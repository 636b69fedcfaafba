"""Creating, filling and ending runs: the only writer of runs, which takes credentials out of all that it writes.

A run is done when its tag `code.done` says so. The tag is written last, after everything else of the run, the status
that the store keeps included: whatever is killed in between is taken up again, and no run that is done stays RUNNING.
"""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import urlparse
from urllib.request import url2pathname

from filelock import FileLock
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from infrastructure.errors import RunNotFoundError, TrackingError
from infrastructure.naming import tags
from infrastructure.redaction import redacted, redacted_fields
from infrastructure.storage.files import make_private
from infrastructure.tracking.mlflow.queries import get_run, search
from infrastructure.tracking.mlflow.session import current_session

T = TypeVar("T")
__all__ = [
    "MetricPoint",
    "Run",
    "RunContent",
    "RunStatus",
    "complete_run",
    "create_run",
    "delete_duplicates",
    "delete_run",
    "delete_tag",
    "end_live_runs",
    "end_run",
    "has_artifact",
    "log_artifacts",
    "log_text",
    "read_text",
    "reopen_run",
    "set_tag",
    "within",
    "worker_environment",
    "write_run",
]

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

LAST_SECONDS: Final = 2.0
"""How long a command that failed or was interrupted tries to reach the store before it ends."""
METRICS_A_BATCH: Final = 250
PARAMS_A_BATCH: Final = 100
TAGS_A_BATCH: Final = 100
CUT_UPLOADS: Final = ".artifact.uploading.*"
"""What MLflow calls a file that it copies into a local store, until it is whole."""


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric at a step."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunContent:
    """What is written to a run in one go."""

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[MetricPoint] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def create_run(experiment_name: str, run_name: str, run_tags: Mapping[str, str], parent_run_id: str | None) -> Run:
    """Create a run in the configured store and return it.

    Raises MlflowNotConfiguredError before `setup_mlflow()`, and TrackingError for an empty name.
    """
    session = current_session()
    if not run_name.strip():
        raise TrackingError("a run needs a name: run_name is empty, and MLflow would make up a random one")
    if not run_name.isprintable():
        raise TrackingError(f"run_name {run_name!r:.80} has characters that can't be seen; write printable ones")
    nested = {tags.PARENT_RUN: parent_run_id} if parent_run_id else {}
    all_tags = {tags.WRITER: uuid.uuid4().hex, **_storable_tags(run_tags), **nested}
    at = _now()
    run = session.client.create_run(_experiment_id(experiment_name), redacted(run_name), all_tags, at)
    session.live_runs.add(run.info.run_id)
    if session.store_folder is None:
        delete_duplicates({run.info.run_id}, at)
    return run


def _now() -> int:
    return time.time_ns() // 1_000_000


def _experiment_id(experiment_name: str) -> str:
    session = current_session()
    if experiment_name == session.experiment_name:
        return session.experiment_id
    experiment = session.client.get_experiment_by_name(experiment_name)
    if experiment is None:
        raise TrackingError(
            f"no experiment {experiment_name!r} in the tracking store: "
            f"call setup_mlflow(experiment_name={experiment_name!r}) first"
        )
    found: str = experiment.experiment_id
    return found


def reopen_run(run_id: str) -> Run:
    """Return a run that exists, set RUNNING again. Raises RunNotFoundError if it doesn't exist."""
    session = current_session()
    try:
        session.client.update_run(run_id, status="RUNNING")
        run: Run = session.client.get_run(run_id)
        if tags.FAILURE in run.data.tags:
            delete_tag(run_id, tags.FAILURE)
    except MlflowException as error:
        raise RunNotFoundError(f"no run {run_id!r} in {session.tracking_uri}: {error.message}") from error
    session.live_runs.add(run_id)
    session.measured[run_id] = _measured(run)
    return run


def _measured(run: Run) -> dict[tuple[str, int], float]:
    """Return the newest value of each metric and step of a run that was read."""
    client = current_session().client
    points = [point for name in run.data.metrics for point in client.get_metric_history(run.info.run_id, name)]
    return {(point.key, point.step): point.value for point in sorted(points, key=lambda point: point.timestamp)}


def set_tag(run_id: str, key: str, value: str) -> None:
    """Set one tag of a run."""
    current_session().client.set_tag(run_id, key, _storable_tags({key: value})[key])


def delete_run(run_id: str) -> None:
    """Mark a run as deleted."""
    session = current_session()
    session.client.delete_run(run_id)
    session.live_runs.discard(run_id)


def delete_tag(run_id: str, key: str) -> None:
    """Take a tag off a run, if it has it."""
    try:
        current_session().client.delete_tag(run_id, key)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # an attempt whose answer was lost has deleted it
            raise


def write_run(run_id: str, content: RunContent, at: int | None = None) -> None:
    """Write params, metrics and tags in as few calls as the store's limits allow.

    `at` is when it was measured, in milliseconds since 1970, by default now; what is written twice with one time is
    there once. A run that was taken up isn't given again what it had by then.
    """
    session = current_session()
    client = session.client
    measured = _now() if at is None else at
    there = session.measured.get(run_id, {})
    new = [m for m in content.metrics if there.get((m.name, m.step)) != m.value]
    there.update({(m.name, m.step): m.value for m in new})
    metrics = _batches((Metric(m.name, m.value, measured, m.step) for m in new), METRICS_A_BATCH)
    params = _batches((Param(*param) for param in _storable(content.params).items()), PARAMS_A_BATCH)
    run_tags = _batches((RunTag(*tag) for tag in _storable_tags(content.tags).items()), TAGS_A_BATCH)
    for index in range(max(len(metrics), len(params), len(run_tags))):
        client.log_batch(
            run_id,
            metrics=metrics[index] if index < len(metrics) else [],
            params=params[index] if index < len(params) else [],
            tags=run_tags[index] if index < len(run_tags) else [],
        )


def _storable(fields: Mapping[str, str]) -> dict[str, str]:
    """Return texts without credentials, and without NUL, which SQLite takes and PostgreSQL doesn't."""
    return {name: text.replace("\0", "\\x00") for name, text in redacted_fields(fields).items()}


def _storable_tags(fields: Mapping[str, str]) -> dict[str, str]:
    """Return tags as the store can keep them, the longest cut; what has to be whole is split beforehand."""
    longest = current_session().client.longest_tag
    return {name: text[:longest] for name, text in _storable(fields).items()}


def _batches(items: Iterable[T], size: int) -> list[list[T]]:
    iterator = iter(items)
    return list(iter(lambda: list(islice(iterator, size)), []))


def complete_run(run_id: str, content: RunContent, status: RunStatus = "FINISHED", at: int | None = None) -> None:
    """Write the last of a run, then its status, then that it is done, in this order; `at` as in `write_run`."""
    write_run(run_id, content, at)
    end_run(run_id, status, at)
    current_session().client.set_tag(run_id, tags.DONE, "true")


def end_run(run_id: str, status: RunStatus, at: int | None = None) -> None:
    """Set a run's final status without calling it done; `at` as in `write_run`."""
    session = current_session()
    session.client.set_terminated(run_id, status, _now() if at is None else at)
    session.live_runs.discard(run_id)


def delete_duplicates(run_ids: Collection[str], since: int) -> None:
    """Delete the runs that share their writer with one of these: a server made two of one request.

    `since` is when the first of `run_ids` was created, in milliseconds since 1970.
    """
    session = current_session()
    found = search(f"attributes.start_time >= {since}")
    writers = {run.tags.get(tags.WRITER) for run in found if run.run_id in run_ids} - {None}
    for run in found:
        if run.tags.get(tags.WRITER) in writers and run.run_id not in run_ids:
            session.client.set_terminated(run.run_id, "KILLED")
            session.client.delete_run(run.run_id)


def end_live_runs(status: RunStatus) -> None:
    """End every run that this process began or took up and hasn't ended, so that none stays RUNNING.

    A store that doesn't answer within seconds is left alone: whoever takes the run up ends it.
    """
    session = current_session()
    live = sorted(session.live_runs)
    session.live_runs.clear()

    def end_all() -> None:
        for run_id in live:
            end_run(run_id, status)

    if live:
        within(LAST_SECONDS, end_all)


def within(seconds: float, call: Callable[[], object]) -> None:
    """Make calls to the store for so many seconds, then go on without them; one that hangs can't be ended."""

    def attempt() -> None:
        with current_session().client.hurried(seconds), suppress(TrackingError, MlflowException):
            call()

    thread = threading.Thread(target=attempt, name="last-calls", daemon=True)
    thread.start()
    thread.join(seconds)


def log_artifacts(run_id: str, folder: Path, artifact_path: str) -> None:
    """Keep a folder's content with a run."""
    with _uploading(run_id):
        current_session().client.log_artifacts(run_id, str(folder), artifact_path)


def log_text(run_id: str, text: str, artifact_file: str) -> None:
    """Keep a text with a run, as a file of this name."""
    with _uploading(run_id):
        current_session().client.log_text(run_id, redacted(text), artifact_file)


@contextmanager
def _uploading(run_id: str) -> Iterator[None]:
    """Let one upload at a time go to a local store, and remove first what one left there that was killed."""
    store = current_session().store_folder
    place = urlparse(get_run(run_id).artifact_uri) if store is not None else None
    if store is None or place is None or place.scheme not in ("", "file"):
        yield
        return
    make_private(store / ".assay")
    with FileLock(store / ".assay" / "uploads.lock", mode=0o600):
        for left in Path(url2pathname(place.path)).rglob(CUT_UPLOADS):
            left.unlink(missing_ok=True)
        yield


def has_artifact(run_id: str, artifact_file: str) -> bool:
    """Tell whether a run keeps a file of this name; folders are separated by `/`."""
    folder = artifact_file.rpartition("/")[0] or None
    return artifact_file in {found.path for found in current_session().client.list_artifacts(run_id, folder)}


def read_text(run_id: str, artifact_file: str) -> str | None:
    """Return a text that was kept with a run, or None if the run keeps no file of this name."""
    client = current_session().client
    if not has_artifact(run_id, artifact_file):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, artifact_file, folder)).read_text()


def worker_environment(environ: Mapping[str, str], tracking_uri: str | None = None) -> dict[str, str]:
    """Return the environment for a worker process: the store is named, and no run or experiment is inherited.

    The store is the configured one, or that of `tracking_uri` with MLflow's default experiment.
    """
    session = current_session()
    kept = {key: value for key, value in environ.items() if not key.startswith(("MLFLOW_RUN", "MLFLOW_EXPERIMENT"))}
    if tracking_uri is not None:
        return {**kept, "MLFLOW_TRACKING_URI": tracking_uri}
    return {**kept, "MLFLOW_TRACKING_URI": session.tracking_uri, "MLFLOW_EXPERIMENT_ID": session.experiment_id}
