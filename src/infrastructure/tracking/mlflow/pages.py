"""The pages of MLflow's UI: where they are, and which columns its table of runs begins with."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infrastructure.tracking.mlflow.session import current_session

LOOPBACK: Final = "127.0.0.1"
WORKFLOW: Final = "workflowType=machine_learning"
"""Without this in an address MLflow may show its pages for language models."""
VIEW: Final = "mlflow.sharedViewState."
"""Of an experiment: a saved view, by its key."""
CHARACTER, REST_OF_NAME, REST_OF_HEADING, NARROWEST = 6, 110, 40, 100
"""Pixels in the table: of a character, of what stands beside a run's name and beside a heading, of a column."""


@dataclass(frozen=True)
class TableView:
    """How a table of runs is shown: the columns after the name, and for how many characters the name has room.

    The newest runs come first: MLflow nests runs only in the order of their creation, and loads a hundred at a time.
    """

    title: str
    metrics: Sequence[str]
    params: Sequence[str]
    name_length: int

    @property
    def state(self) -> str:
        """The view as MLflow's UI keeps it."""
        name = _column("attributes", "Run Name")
        keys = {_column("metrics", key): key for key in self.metrics} | {_column("params", k): k for k in self.params}
        widths = {column: max(NARROWEST, CHARACTER * len(key) + REST_OF_HEADING) for column, key in keys.items()}
        return json.dumps(
            {
                "selectedColumns": list(keys),
                "columnOrder": [name, *keys],
                "columnWidths": {name: CHARACTER * self.name_length + REST_OF_NAME, **widths},
                "orderByKey": "attributes.start_time",
                "orderByAsc": False,
            }
        )


def _column(kind: str, key: str) -> str:
    return f"{kind}.`{key}`"


def save_view(key: str, view: TableView) -> None:
    """Keep a view with the experiment, where the UI lists it under its title."""
    session = current_session()
    now = time.time_ns() // 1_000_000
    state = f"deflate;{base64.b64encode(zlib.compress(view.state.encode())).decode()}"
    envelope = {"name": view.title, "createdAt": now, "updatedAt": now, "state": state}
    session.client.set_experiment_tag(session.experiment_id, f"{VIEW}{key}", json.dumps(envelope, ensure_ascii=False))


def experiment_page(port: int, view: str) -> str:
    """Return the address of the experiment's table of runs in a saved view.

    It is on the server that the store is in, or on 127.0.0.1 for a store without one.
    """
    session = current_session()
    server = session.tracking_uri.rstrip("/") if in_server() else f"http://{LOOPBACK}:{port}"
    return f"{server}/#/experiments/{session.experiment_id}/runs?{WORKFLOW}&viewStateShareKey={view}"


def in_server() -> bool:
    """Tell whether the store is in an MLflow server, which has a UI of its own."""
    return current_session().tracking_uri.startswith(("http://", "https://"))


def run_page(run_id: str, artifact: str = "") -> str:
    """Return the address of a run's page, or of an artifact on it, for a link on another page of the same UI."""
    place = f"/artifacts/{artifact}" if artifact else ""
    return f"#/experiments/{current_session().experiment_id}/runs/{run_id}{place}?{WORKFLOW}"
