"""PostgreSQL is torn from under the tracking server in the middle of a sweep."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import requests
from server.postgres import Postgres

from tests.conftest import MakeProject
from tests.faults.drivers import make_study, units_of
from tests.faults.invariant import violations
from tests.faults.observation import Observation, observe
from tests.faults.servers import Database, postgres_running, running_on
from tests.faults.test_store_away import use
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep

RESTARTS: Final = int(os.environ.get("RESTARTS", "3"))
REQUESTS: Final = 23
"""From one restart to the next; a trial takes about a dozen."""


class Torn:
    """Stops PostgreSQL as a crash would, again and again, while it answers a request, and starts it some time later.

    `failed` is how many requests came to nothing meanwhile.
    """

    def __init__(self, postgres: Postgres) -> None:
        self.restarts = self.failed = self._answered = 0
        self._postgres = postgres
        self._rng = Random(7)
        self._thread: threading.Thread | None = None

    @contextmanager
    def tearing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Do so while the context lasts; PostgreSQL is there when it ends."""
        send = requests.Session.send

        def sent(session: requests.Session, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
            if self._answered >= REQUESTS and (self._thread is None or not self._thread.is_alive()):
                self._answered = 0
                self._thread = threading.Thread(target=self._restart, args=(self._rng.uniform(0, 0.02),))
                self._thread.start()
            try:
                answer = send(session, request, **keywords)
            except requests.RequestException:
                self.failed += 1
                raise
            self._answered += 1
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(requests.Session, "send", sent)
            yield
        if self._thread is not None:
            self._thread.join()

    def _restart(self, after: float) -> None:
        time.sleep(after)
        self._postgres.stop("immediate")
        time.sleep(self._rng.uniform(0, 0.5))
        self._postgres.start()
        self.restarts += 1


@pytest.fixture
def own_database() -> Iterator[Database]:
    """Yield a PostgreSQL that no other test uses."""
    with postgres_running() as database:
        yield database


def done(config_dir: Path) -> Observation:
    """Sweep and refit, and return what there is then."""
    sweep(config_dir)
    refit(config_dir)
    return observe(config_dir).of_any_store()


def test_a_database_that_crashes_loses_and_doubles_nothing(
    make_project: MakeProject, own_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL is restarted with `-m immediate` time and again: the study is as if it had been left alone."""
    trials = 3 * RESTARTS
    alone = done(make_study(make_project, "alone", max_trials=trials))
    torn = Torn(own_database.postgres)
    with running_on(own_database.new_store(), tmp_path / "server") as server:
        config_dir = use(make_study(make_project, "torn", max_trials=trials), server.address, store_timeout=120)
        with torn.tearing(monkeypatch):
            sweep(config_dir)
            refit(config_dir)
        seen = observe(config_dir).of_any_store()
    print(f"{torn.restarts} restarts, {torn.failed} requests failed meanwhile, {trials} trials")
    assert torn.restarts >= RESTARTS
    assert torn.failed > 0
    found = violations(seen, alone, [], units_of(alone))
    assert found == [], "\n".join(found)
