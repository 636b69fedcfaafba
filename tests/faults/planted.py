"""Bugs that the kills have to notice: what prevents one of them is taken out in the process of a driver."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.runs import RunContent, RunStatus
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.store_client import StoreClient
from training.hpo.execution.local import model_training
from training.hpo.execution.local import sweep as sweeping
from training.hpo.tracking import study_runs

PATIENCE: Final = 10.0
_patched: Final[Mapping[str, Any]] = {
    "study runs": study_runs,
    "sweep": sweeping,
    "training": model_training,
    "runs": runs,
    "client": StoreClient,
    "outbox": Outbox,
}


def plant(name: str) -> None:
    """Plant a bug, or what brings one about, by the name of its function here."""
    PLANTED[name]()


def meet() -> None:
    """Let two drivers look for their study, and neither go on before both have."""
    find = study_runs.find_study_run

    def found(key: str) -> Any:
        answer = find(key)
        place = Path(tempfile.gettempdir())
        (place / f"met-{os.getpid()}").touch()
        deadline = time.monotonic() + PATIENCE
        while len(list(place.glob("met-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        return answer

    _patched["study runs"].find_study_run = found


def no_lock() -> None:
    """Let two drivers meet, with nothing that gives the study to one of them."""

    @contextmanager
    def free(*_: str | Path) -> Iterator[None]:
        yield

    meet()
    _patched["sweep"].study_lease = _patched["training"].study_lease = free


def done_first() -> None:
    """Say of a run that it is done before all else is written."""

    def complete(run_id: str, content: RunContent, status: RunStatus = "FINISHED", at: int | None = None) -> None:
        current_session().client.set_tag(run_id, "code.done", "true")
        runs.write_run(run_id, content, at)
        runs.end_run(run_id, status, at)

    _patched["runs"].complete_run = complete


def no_adoption() -> None:
    """Create a run again without looking whether an attempt before has."""

    def create(self: StoreClient, experiment: str, name: str, own: Mapping[str, str], at: int, **_: bool) -> Any:
        return self.attempt(lambda _: self._client.create_run(experiment, at, dict(own), name))

    _patched["client"].create_run = create


def no_replay() -> None:
    """Drop what an earlier driver left unsent."""
    begin = Outbox.__init__

    def begun(self: Outbox, folder: Path, study_run_id: str) -> None:
        (folder / f"outbox-{study_run_id}.jsonl").unlink(missing_ok=True)
        begin(self, folder, study_run_id)

    _patched["outbox"].__init__ = begun


PLANTED: Final[Mapping[str, Callable[[], None]]] = {
    deed.__name__: deed for deed in (meet, no_lock, done_first, no_adoption, no_replay)
}
