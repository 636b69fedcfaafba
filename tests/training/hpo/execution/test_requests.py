"""How often a sweep asks a tracking server."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import requests
from tests.conftest import MakeProject
from tests.faults.servers import running

from infrastructure.naming import tags
from training.hpo.execution.local.sweep import sweep
from training.hpo.tracking import claims

THE_STUDY = "study"
RUNS = 3
"""Of a trial: its own, and one for each of two folds."""


class Counted:
    """Counts requests by what they ask: those for each trial with its folds, and those for the study as a whole."""

    def __init__(self) -> None:
        self.of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._trials: dict[str, str] = {}

    @contextmanager
    def counting(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Count while the context lasts."""
        send = requests.Session.send

        def sent(session: requests.Session, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
            answer = send(session, request, **keywords)
            self._note(request, answer)
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(requests.Session, "send", sent)
            yield

    def _note(self, request: requests.PreparedRequest, answer: requests.Response) -> None:
        url = urlparse(str(request.url))
        body = json.loads(request.body) if isinstance(request.body, bytes) and "/artifacts/" not in url.path else {}
        if url.path.endswith("runs/create"):
            numbers = [tag["value"] for tag in body["tags"] if tag["key"] == tags.TRIAL_NUMBER]
            run_id = answer.json()["run"]["info"]["run_id"]
            self._trials[run_id] = numbers[0] if numbers else THE_STUDY
        else:
            run_id = body.get("run_id") or parse_qs(url.query).get("run_id", [""])[0]
        what = "artifacts" if "/artifacts" in url.path else url.path.rpartition("/mlflow/")[2]
        self.of[self._trials.get(run_id, THE_STUDY)][what] += 1


def test_a_trial_takes_as_many_requests_at_the_end_as_at_the_beginning(
    make_project: MakeProject, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four for each run, one more where a batch ends in its middle; for the study as a whole always as many."""
    monkeypatch.setattr(claims, "LASTS", 10_000)  # which is renewed by the clock
    of_the_study = []
    with running(tmp_path / "server", empty_store) as server:
        for trials in (3, 40):
            config_dir = make_project(f"{trials}", hpo={"max_trials": trials})
            settings = {"tracking_uri": server.address, "experiment_name": f"{trials} trials"}
            (config_dir / "mlflow.yaml").write_text(json.dumps(settings))
            counted = Counted()
            with counted.counting(monkeypatch):
                sweep(config_dir)
            assert len(counted.of) == trials + 1
            of_the_study.append(counted.of.pop(THE_STUDY))
            asked = [counted.of[str(number)].total() for number in range(trials)]
            assert all(4 * RUNS <= count <= 5 * RUNS for count in asked), asked
    assert median(asked[5:15]) == median(asked[-10:]) == 4 * RUNS
    few, many = (asked.total() for asked in of_the_study)
    assert many <= few + 2, of_the_study  # MLflow asks for a run again when it has forgotten where its files go
