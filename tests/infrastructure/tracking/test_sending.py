"""Sending many operations together: the same runs in fewer calls, whole or one by one."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from tests.conftest import MakeProject
from tests.faults.servers import Server, running

from infrastructure.errors import TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import outbox as outboxes
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.operations import Operation, merged
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from infrastructure.tracking.mlflow.sending import Sender, SendingStoppedError
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow


@pytest.fixture
def study(make_project: MakeProject) -> str:
    """Return the id of a study's run in a store of its own."""
    setup_mlflow("sending", make_project())
    return str(runs.create_run("sending", "study", {}, None).info.run_id)


def operation(kind: str, run: str, **fields: object) -> Operation:
    """Return an operation."""
    return Operation.model_validate({"time": 1_000, **fields, "kind": kind, "run": run})


def trial(study: str, name: str) -> list[Operation]:
    """Return what is done to a trial's run and to its fold's run, the fold's first end included."""
    session = current_session()
    one, two = (f"writer:{uuid.uuid4().hex}" for _ in range(2))
    created = {"experiment_id": session.experiment_id}
    return [
        operation("create", one, name=name, parent=study, tags={"trial": name}, **created),
        operation("write", one, params={"x": "1"}),
        operation("create", two, name=f"{name} fold", parent=one, tags={"fold": name}, **created),
        operation("end", two, metrics=[("loss", 0.5, 1), ("loss", 0.25, 2)], done=True),
        operation("end", one, metrics=[("loss", 0.25, 0)], tags={"record": "r"}, done=True),
    ]


def told(name: str) -> list[tuple[object, ...]]:
    """Return what the store has of a trial and its fold, whatever the trial is called."""
    found = [*queries.find_runs({"trial": name}), *queries.find_runs({"fold": name})]
    return [
        (run.name.replace(name, "trial"), run.status, run.is_done, run.params, run.metrics, run.end_time)
        for run in found
    ]


def test_what_is_only_written_is_put_off() -> None:
    """Params and tags go with the next operation of their run; metrics keep their time, and another run its place."""
    first = operation("write", "a", tags={"x": "1", "y": "1"}, params={"p": "1"})
    other = operation("create", "b")
    measured = operation("write", "a", metrics=[("loss", 1.0, 1)], tags={"x": "2"})
    end = operation("end", "a", tags={"z": "3"})
    together = operation("write", "a", metrics=[("loss", 1.0, 1)], tags={"x": "2", "y": "1"}, params={"p": "1"})
    assert merged([first, other, measured, end]) == [other, together, end]
    assert merged([first, other]) == [other, first]
    again = operation("reopen", "a", tags={"x": "3"})
    assert merged([first, again]) == [first, again]


def test_together_is_as_one_by_one(study: str) -> None:
    """The store has the same of a trial that was sent in one transaction and of one that was sent in steps."""
    sender = Sender(lambda: False)
    for single in trial(study, "steps"):
        sender.send(single)
    sender.send_together(trial(study, "together"))
    assert told("steps") == told("together")
    assert [done for _, _, done, *_ in told("steps")] == [True, True]
    (fold,) = queries.find_runs({"fold": "together"})
    history = current_session().client.get_metric_history(fold.run_id, "loss")
    assert [(point.step, point.value, point.timestamp) for point in history] == [(1, 0.5, 1_000), (2, 0.25, 1_000)]


def test_a_transaction_is_all_or_nothing(study: str) -> None:
    """What can't be sent takes back the rest, which the store's other users have never seen."""
    wrong = operation("write", "no-such-run", tags={"a": "b"})
    with pytest.raises(MlflowException):
        Sender(lambda: False).send_together([*trial(study, "gone"), wrong])
    assert told("gone") == []
    assert runs.create_run("sending", "after", {}, None)  # the connection is as it was


def test_a_metric_that_is_there_takes_nothing_back(study: str) -> None:
    """MLflow meets a metric that it has with a rollback; in a transaction that is of this metric alone."""
    point = operation("write", study, metrics=[("loss", 1.0, 1)])
    Sender(lambda: False).send(point)
    Sender(lambda: False).send_together([*trial(study, "beside"), point])
    assert len(told("beside")) == 2
    assert len(current_session().client.get_metric_history(study, "loss")) == 1


def test_what_was_measured_is_not_written_again(study: str) -> None:
    """A run that is taken up, whose metrics a driver had sent before its journal was lost, gets those that are new."""
    Sender(lambda: False).send(operation("write", study, metrics=[("loss", 1.0, 1), ("rate", 2.0, 0)]))
    again = [("loss", 1.0, 1), ("loss", 0.5, 2), ("rate", 3.0, 0)]
    later = {"time": 2_000}
    sender = Sender(lambda: False)
    sender.send(operation("reopen", study, **later))
    sender.send(operation("end", study, metrics=again, done=True, **later))
    client = current_session().client
    assert [(p.step, p.value, p.timestamp) for p in client.get_metric_history(study, "loss")] == [
        (1, 1.0, 1_000),
        (2, 0.5, 2_000),
    ]
    assert [p.value for p in client.get_metric_history(study, "rate")] == [2.0, 3.0]


def test_the_rest_is_not_sent_when_the_study_is_lost(study: str) -> None:
    """Between two operations the sender asks whether it is still to go on."""
    answers = iter([False, False, True])
    with pytest.raises(SendingStoppedError):
        Sender(lambda: next(answers)).send_together(trial(study, "lost"))
    assert told("lost") == []


@pytest.mark.parametrize("error", [IndexError("a fault of the store"), TrackingError("refused")])
def test_an_error_in_one_of_many_calls_is_told(study: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever goes wrong in one of the calls that are made at once: nobody takes the rest for sent."""

    def send(_: Sender, operation: Operation) -> None:
        if operation.name == "1 fold":
            raise error

    monkeypatch.setattr(Sender, "send", send)
    sender = Sender(lambda: False)
    sender._send_at_once([trial(study, "0"), trial(study, "2")])
    with pytest.raises(type(error)):
        sender._send_at_once([trial(study, str(number)) for number in range(3)])


def test_trials_begin_in_order(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of trials that are sent at once none is in the store before an earlier one, however long that takes."""
    there: list[str] = []

    def send(_: Sender, operation: Operation) -> None:
        if operation.kind == "create" and operation.parent == study:
            time.sleep(0.1 if operation.name == "0" else 0)
            there.append(operation.name)

    monkeypatch.setattr(Sender, "send", send)
    Sender(lambda: False)._send_at_once([trial(study, str(number)) for number in range(4)])
    assert there == ["0", "1", "2", "3"]


def test_one_that_is_refused_does_not_hold_up_the_others(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be sent together is sent one by one, once each, and what is refused is kept."""
    monkeypatch.setattr(outboxes, "QUIET", 0.2)
    outbox = Outbox(tmp_path, study)
    run = outbox.create("first", {"trial": "first"}, study)
    outbox.write("no-such-run", RunContent(tags={"a": "b"}))
    outbox.end(run, RunContent(metrics=[MetricPoint("loss", 1.0)]), "FINISHED", done=True)
    with pytest.raises(Exception, match="refused 1 records"):
        outbox.close(20)
    (found,) = queries.find_runs({"trial": "first"})
    assert (found.is_done, found.metrics) == (True, {"loss": 1.0})


def test_many_are_one_commit(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits goes to a local store in few transactions, of which others see all or nothing."""
    monkeypatch.setattr(outboxes, "QUIET", 0.5)
    file = Path(current_session().tracking_uri.removeprefix("sqlite:///"))

    def changes() -> int:
        return int.from_bytes(file.read_bytes()[24:28], "big")  # the file's change counter

    outbox = Outbox(tmp_path, study)
    before = changes()
    for index in range(20):
        run = outbox.create(f"trial {index}", {tags.STAGE: "many"}, study)
        outbox.end(run, RunContent(), "FINISHED", done=True)
    outbox.close(20)
    assert len(queries.find_runs({tags.STAGE: "many", tags.DONE: "true"})) == 20
    assert changes() - before <= 2
    with sqlite3.connect(file) as store:
        assert store.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_server_gets_at_most_four_requests_a_run(
    make_project: MakeProject, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with params, metrics and tags takes four requests, and a fold is done before its trial."""
    with running(tmp_path, empty_store) as server:
        asked, ended = requests_of(make_project, server, monkeypatch)
    assert asked <= 4 * 2 * 10
    for name in map(str, range(10)):
        assert ended.index(f"{name} fold") < ended.index(name)


def requests_of(make_project: MakeProject, server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """Send ten trials together; return how many requests that takes, and in which order runs were called done."""
    setup_mlflow("sending", make_project(), tracking_uri=server.address)
    study = runs.create_run("sending", "study", {}, None).info.run_id
    sent: list[requests.PreparedRequest] = []
    send = requests.Session.send

    def counted(session: requests.Session, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        sent.append(request)
        return send(session, request, **keywords)

    with monkeypatch.context() as counting:
        counting.setattr(requests.Session, "send", counted)
        Sender(lambda: False).send_together([single for name in map(str, range(10)) for single in trial(study, name)])
    names = {run.run_id: run.name for run in queries.search("attributes.run_name != 'study'")}
    bodies = [json.loads(request.body) for request in sent if isinstance(request.body, bytes)]
    assert len(bodies) == len(sent)
    return len(sent), [names[body["run_id"]] for body in bodies if body.get("key") == tags.DONE]
