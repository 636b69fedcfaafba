"""The tracking store goes away, comes back, is locked, refuses, loses answers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.errors import StoreUnreachableError, StudyHeldError, TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, store_client
from infrastructure.tracking.mlflow.outbox import Outbox, journals
from infrastructure.tracking.mlflow.runs import RunContent
from infrastructure.tracking.mlflow.sending import Sender
from infrastructure.tracking.mlflow.session import current_session, set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from infrastructure.tracking.mlflow.store_client import StoreClient
from tests.conftest import MakeProject, calls
from tests.faults.servers import FaultyProxy, Server, running
from training.execution.mlflow_setup import ended_on_error
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import StudyResult
from training.hpo.execution.sync import sync
from training.hpo.records import TrialRecord
from training.hpo.study import OptunaStudy
from training.hpo.tracking.study_runs import StudyRuns


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[Server]:
    """Yield an MLflow server that runs."""
    with running(tmp_path / "server", empty_store) as started:
        yield started


def use(config_dir: Path, address: str, store_timeout: float = 60) -> Path:
    """Let a project track at an address."""
    settings = {"tracking_uri": address, "store_timeout": store_timeout}
    (config_dir / "mlflow.yaml").write_text(json.dumps(settings))
    return config_dir


class AfterTrials(Progress):
    """Does something after so many trials."""

    def __init__(self, count: int, then: object) -> None:
        self._count = count
        self._then = then

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Count a trial."""
        self._count -= 1
        if self._count == 0:
            assert callable(self._then)
            self._then()


def holds_once(study_key_hash: str, trials: int, folds: int = 2, refits: int = 0) -> None:
    """Check that the store has each run of a study once, done, and none left RUNNING."""
    runs = queries.find_runs({tags.STUDY_KEY: study_key_hash})
    stages = Counter(run.tags[tags.STAGE] for run in runs)
    assert stages == Counter(
        {
            tags.STAGE_SWEEP: 1,
            tags.STAGE_TRIAL: trials,
            tags.STAGE_FOLD: trials * folds,
            tags.STAGE_REFIT: refits,
        }
    )
    assert {(run.status, run.is_done) for run in runs} == {("FINISHED", True)}
    folds_of = Counter(
        (run.tags[tags.PARENT_RUN], run.tags[tags.FOLD_INDEX])
        for run in runs
        if run.tags[tags.STAGE] == tags.STAGE_FOLD
    )
    assert set(folds_of.values()) == {1}
    assert {parent for parent, _ in folds_of} == {
        run.run_id for run in runs if run.tags[tags.STAGE] == tags.STAGE_TRIAL
    }


def test_a_server_that_is_restarted_is_no_matter(make_project: MakeProject, server: Server) -> None:
    """A server that is killed in the middle of a sweep and started again gets all of it, once."""
    config_dir = use(make_project(hpo={"max_trials": 6}), server.address, store_timeout=120)

    def restart() -> None:
        server.kill()
        threading.Timer(float(os.environ.get("AWAY", "3")), server.start).start()

    result = sweep(config_dir, progress=AfterTrials(2, restart))
    assert [trial.state for trial in result.trials] == ["complete"] * 6
    assert len(calls(config_dir)) == 12
    holds_once(result.study_key_hash, 6)
    assert journals(config_dir.parent / "outputs") == []
    set_session(None)
    assert sweep(config_dir).trials == result.trials
    assert len(calls(config_dir)) == 12


@pytest.mark.parametrize("with_sync", [True, False])
def test_what_was_done_waits_on_disk(make_project: MakeProject, server: Server, *, with_sync: bool) -> None:
    """A store that doesn't come back ends the command with 75; sync or the next start sends the rest, once."""
    config_dir = use(make_project(), server.address, store_timeout=1)
    with pytest.raises(
        StoreUnreachableError, match=r"records of the study wait in .*: give the same command again, or `assay sync`"
    ):
        sweep(config_dir, progress=AfterTrials(1, server.kill))
    assert len(calls(config_dir)) == 6
    assert len(journals(config_dir.parent / "outputs")) == 1
    server.start()
    set_session(None)
    use(config_dir, server.address)
    if with_sync:
        ((_, count),) = sync(config_dir)
        assert count > 10
        setup_mlflow(config_dir=config_dir)
        holds_once(next(iter(queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}))).tags[tags.STUDY_KEY], 3)
        assert list(sync(config_dir)) == []
    result = sweep(config_dir)
    assert len(calls(config_dir)) == 6
    holds_once(result.study_key_hash, 3)


def sweep_through_faults(make_project: MakeProject, server: Server) -> StudyResult:
    """Sweep while `FAULTS` answers of the server get lost and the like, then look at the server itself."""
    wanted = int(os.environ.get("FAULTS", "40"))
    with FaultyProxy(server.port, share=0.2, seed=4) as proxy:
        config_dir = use(make_project(hpo={"max_trials": 8}), proxy.address)
        result = sweep(config_dir)
        count = 8
        while proxy.faults < wanted:
            count += 8
            result = sweep(config_dir, [f"hpo.max_trials={count}"])
        print(f"{proxy.faults} faults: {dict(proxy.count)}; {count} trials")
    setup_mlflow(config_dir=use(config_dir, server.address))
    return result


def test_a_lying_network_makes_no_second_run(make_project: MakeProject, server: Server) -> None:
    """Lost answers, doubled and late requests, 500 and 429: one run for each identity, and nothing missing."""
    result = sweep_through_faults(make_project, server)
    holds_once(result.study_key_hash, len(result.trials))
    alone = sweep(make_project("alone"), [f"hpo.max_trials={len(result.trials)}"])
    assert [(trial.params, trial.value) for trial in result.trials] == [(t.params, t.value) for t in alone.trials]


def test_a_lying_network_makes_no_second_model(
    make_project: MakeProject, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come twice, lost answers and errors: one run of the refit, one version, and it is the champion."""
    monkeypatch.setattr(store_client, "LONGEST_PAUSE", 0.1)
    with FaultyProxy(server.port, share=0.3, seed=1, faults=("double", "lost", "500")) as proxy:
        config_dir = use(make_project(hpo={"max_trials": 1}), proxy.address)
        result = sweep(config_dir)
        refitted = refit(config_dir)
        again = refit(config_dir)
    setup_mlflow(config_dir=use(config_dir, server.address))
    holds_once(result.study_key_hash, 1, refits=1)
    assert (refitted.version, again.version, again.reused) == ("1", "1", True)
    client = current_session().client
    assert [version.version for version in client.search_model_versions("name = 'quadratic'")] == ["1"]
    assert client.get_model_version_by_alias("quadratic", "champion").run_id == refitted.run_id


def test_without_adoption_it_would_be_noticed(
    make_project: MakeProject, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: runs are created again without looking, and duplicates stay."""

    def create(self: StoreClient, experiment: str, name: str, run_tags: dict[str, str], at: int, **_: bool) -> object:
        return self.attempt(lambda _: self._client.create_run(experiment, at, dict(run_tags), name))

    monkeypatch.setattr(StoreClient, "create_run", create)
    monkeypatch.setattr(Sender, "delete_duplicates", lambda _: None)
    result = sweep_through_faults(make_project, server)
    with pytest.raises(AssertionError, match="Counter"):
        holds_once(result.study_key_hash, len(result.trials))


def test_a_locked_store_is_waited_for(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite store that somebody else locks is waited for; then the command ends with 75 and names the file."""
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    config_dir = make_project()
    store = config_dir.parent / "mlflow.db"
    (config_dir / "mlflow.yaml").write_text(json.dumps({"store_timeout": 1}))
    other = sqlite3.connect(store, isolation_level=None, check_same_thread=False)
    with pytest.raises(StoreUnreachableError, match=str(store)) as caught:
        sweep(config_dir, progress=AfterTrials(1, lambda: other.execute("BEGIN EXCLUSIVE")))
    assert caught.value.exit_code == 75
    other.execute("ROLLBACK")
    result = sweep(config_dir)
    assert len(calls(config_dir)) == 6
    holds_once(result.study_key_hash, 3)


def test_what_the_store_refuses_is_kept_and_told(make_project: MakeProject) -> None:
    """A run that somebody deletes for good in the middle doesn't stop the rest; the command ends with the reason."""
    config_dir = make_project()

    def delete() -> None:
        (run,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
        with sqlite3.connect(config_dir.parent / "mlflow.db", timeout=30) as store:
            store.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (run.run_id,))

    with pytest.raises(TrackingError, match=r"the tracking store refused 1 records of the study, which are kept in "):
        sweep(config_dir, progress=AfterTrials(3, delete))
    (refused,) = (config_dir.parent / "outputs").rglob("refused-*.jsonl")
    assert json.loads(refused.read_text())["kind"] == "end"


def test_a_torn_line_is_dropped(make_project: MakeProject) -> None:
    """What was being written to the journal when the process died was told to nobody, and is dropped."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    folder = config_dir.parent / "outputs" / result.study_key_hash[:16]
    (folder / f"outbox-{result.run_id}.jsonl").write_bytes(b'{"kind":"write","run":"')
    assert len(sweep(config_dir).trials) == 1
    assert journals(config_dir.parent / "outputs") == []


def test_leftovers_of_a_run_that_is_done_are_dropped(make_project: MakeProject) -> None:
    """What another machine has finished since isn't overwritten by what this one had begun."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    (trial,) = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    folder = config_dir.parent / "outputs" / result.study_key_hash[:16]
    old = {"kind": "end", "run": trial.run_id, "time": 1, "status": "KILLED", "tags": {tags.TRIAL_RECORD: "{}"}}
    (folder / f"outbox-{result.run_id}.jsonl").write_text(json.dumps(old) + "\n")
    assert sweep(config_dir).trials == result.trials
    assert queries.get_run(trial.run_id).status == "FINISHED"


def test_the_second_driver_is_told_who_has_the_study(make_project: MakeProject) -> None:
    """One driver owns a study: a second one ends at once and names the first; when that one dies, it is free."""
    config_dir = make_project()
    function = config_dir.parent / "objective.py"
    function.write_text(function.read_text().replace("    loss =", "    import time; time.sleep(0.5)\n    loss ="))
    code = f"from training.hpo.execution.local.sweep import sweep; sweep({str(config_dir)!r})"
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not calls(config_dir):
        assert first.poll() is None
        time.sleep(0.05)
    begun = time.monotonic()
    with pytest.raises(StudyHeldError, match=rf"is being worked on by process {first.pid} on \S+ since 20"):
        sweep(config_dir)
    assert time.monotonic() - begun < 20
    first.kill()
    first.wait()
    result = sweep(config_dir)
    assert len(result.trials) == 3
    holds_once(result.study_key_hash, 3)


def test_a_store_that_was_away_can_be_used_again(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, a sweep that couldn't begin for want of a store is no obstacle to the next one."""
    config_dir = make_project(hpo={"max_trials": 1})
    (config_dir / "mlflow.yaml").write_text('{"store_timeout": 0.5}')
    with monkeypatch.context() as away:

        def unreachable(*_: object, **__: object) -> None:
            raise StoreUnreachableError("away")

        away.setattr(Sender, "send", unreachable)
        for _ in range(2):  # the second one can't send what the first one left
            with pytest.raises(StoreUnreachableError, match="wait in"):
                sweep(config_dir)
    begun = time.monotonic()
    result = sweep(config_dir)
    assert time.monotonic() - begun < 20
    holds_once(result.study_key_hash, 1)


@pytest.mark.parametrize("kind", ["create", "end"])
def test_a_signal_right_after_an_operation_was_written(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What got into the journal counts, also when Ctrl-C comes before the call returns."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    monkeypatch.setattr(Outbox, "_run", lambda _: None)
    outbox = Outbox(config_dir.parent / "outputs" / "by-hand", result.run_id)
    run = outbox.create("first", {}, result.run_id)

    def interrupted() -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "monotonic", interrupted)
    operations: dict[str, Callable[[], object]] = {
        "create": lambda: outbox.create("second", {}, result.run_id),
        "end": lambda: outbox.end(run, RunContent(), "FINISHED", done=True),
    }
    with pytest.raises(KeyboardInterrupt):
        operations[kind]()
    assert len(current_session().live_runs) == (2 if kind == "create" else 0)


def test_runs_of_a_study_that_was_lost_are_left_alone(make_project: MakeProject) -> None:
    """A driver that finds somebody else on its study ends no run of it: they are the other one's now."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    project = open_project(config_dir)
    (trial,) = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})

    def lose_it() -> None:
        with ended_on_error(), StudyRuns.open(project.context, project.run_name, project.paths.folder) as runs:
            runs._outbox.reopen(trial.run_id, {})
            runs._outbox.drain(10)
            current_session().client.set_terminated(trial.run_id, "FINISHED")  # by the other one
            runs._outbox.fail(StudyHeldError("the study is another one's"))
            runs._outbox._thread.join()  # which is how far it is when the driver comes to notice
            runs._outbox.write(trial.run_id, RunContent())

    with pytest.raises(StudyHeldError):
        lose_it()
    assert queries.get_run(trial.run_id).status == "FINISHED"
    assert queries.get_run(result.run_id).status == "RUNNING"


def test_what_a_run_came_to_is_durable(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a call returns, what it said is in the journal; what has ended is synced when asked for, at once for all."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    synced: list[int] = []
    fsync = os.fsync

    def counted(file: int) -> None:
        synced.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    monkeypatch.setattr(Outbox, "_run", lambda _: None)
    outbox = Outbox(config_dir.parent / "outputs" / "by-hand", result.run_id)
    for count in (1, 2, 3):
        run = outbox.create("run", {}, result.run_id)
        outbox.write(run, RunContent(tags={"a": "b"}))
        outbox.sync()
        assert (outbox.waiting, len(synced)) == (4 * count - 2, count - 1)
        outbox.end(run, RunContent(), "FINISHED", done=True)
        outbox.end(result.run_id, RunContent(), "FINISHED", done=False)
        outbox.sync()
        assert (outbox.waiting, len(synced)) == (4 * count, count)


def test_no_trial_is_proposed_before_the_last_one_is_on_disk(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has ended is synced before the next trial is asked for."""
    done: list[str] = []
    end, sync_journal, ask = Outbox.end, Outbox.sync, OptunaStudy.ask

    def noted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            done.append(kind)
            return call(*arguments, **named)

        return wrapper

    monkeypatch.setattr(Outbox, "end", noted("end", end))
    monkeypatch.setattr(Outbox, "sync", noted("sync", sync_journal))
    monkeypatch.setattr(OptunaStudy, "ask", noted("ask", ask))
    sweep(make_project(hpo={"max_trials": 3}))
    assert done.count("ask") == 3
    begun = [index for index, kind in enumerate(done) if kind == "ask"]
    assert [done[index - 1] for index in begun[1:]] == ["sync", "sync"]
    assert isinstance(current_session().client, StoreClient)
