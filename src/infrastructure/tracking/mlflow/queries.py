"""Finding and reading runs: the only reader of tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from infrastructure.errors import RunNotFoundError, TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow.session import current_session

PAGE: Final = 1_000


@dataclass(frozen=True)
class RunRecord:
    """A run as it was read: `start_time` and `end_time` in milliseconds since 1970, end_time 0 while it runs."""

    run_id: str
    name: str
    status: str
    start_time: int
    end_time: int
    artifact_uri: str
    is_deleted: bool
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

    @property
    def is_done(self) -> bool:
        """Whether the run itself says that everything of it was written."""
        return self.tags.get(tags.DONE) == "true"

    @property
    def variant(self) -> int:
        """How often the work of this key had been started, this run included."""
        return int(self.tags.get(tags.VARIANT, "1"))


def _record(run: Run) -> RunRecord:
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        start_time=run.info.start_time,
        end_time=run.info.end_time or 0,
        artifact_uri=run.info.artifact_uri,
        is_deleted=run.info.lifecycle_stage == "deleted",
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def get_run(run_id: str) -> RunRecord:
    """Return a run. Raises RunNotFoundError if the store has none of this id."""
    session = current_session()
    try:
        return _record(session.client.get_run(run_id))
    except MlflowException as error:
        raise RunNotFoundError(f"no run {run_id!r} in {session.tracking_uri}: {error.message}") from error


def find_runs(wanted: Mapping[str, str]) -> list[RunRecord]:
    """Return all runs of the configured experiment that carry these tags, the oldest first.

    Raises TrackingError for a value that can't be searched for.
    """
    return search(" and ".join(f"tags.`{key}` = {quoted(value)}" for key, value in wanted.items()))


def find_by_name(name: str) -> list[RunRecord]:
    """Return all runs of the configured experiment with this name, the oldest first."""
    return search(f"attributes.run_name = {quoted(name)}") if can_be_searched(name) else []


def can_be_searched(value: str) -> bool:
    """Tell whether MLflow's search language has a way to write a text; what it hasn't, nothing of ours is called."""
    return value.isprintable() and "\\" not in value and not ("'" in value and '"' in value)


def quoted(value: str) -> str:
    """Return a text as a value of MLflow's search language, so that no text changes what is asked.

    Raises TrackingError for one that the language can't write: it has two kinds of quotes and no escapes.
    """
    if not can_be_searched(value):
        raise TrackingError(f"{value!r:.80} can't be searched for: MLflow's search takes no such characters together")
    return f'"{value}"' if "'" in value else f"'{value}'"


def runs_of_experiment(name: str) -> list[RunRecord]:
    """Return all runs of another experiment, the oldest first. Raises RunNotFoundError if the store has none."""
    session = current_session()
    found = session.client.get_experiment_by_name(name)
    if found is None:
        there = ", ".join(sorted(experiment.name for experiment in session.client.search_experiments()))
        raise RunNotFoundError(f"no experiment {name!r} in {session.tracking_uri}; it has: {there}")
    return search("", found.experiment_id)


def search(query: str, experiment_id: str = "") -> list[RunRecord]:
    """Return all runs that match a query in MLflow's language, the oldest first; by default of our experiment."""
    session = current_session()
    found: list[RunRecord] = []
    token: str | None = None
    while True:
        page = session.client.search_runs(
            [experiment_id or session.experiment_id],
            filter_string=query,
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += [_record(run) for run in page]
        token = page.token
        if not token:
            return found
