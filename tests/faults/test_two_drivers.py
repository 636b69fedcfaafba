"""Two drivers that start at the same time on one study: one has it, the other is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from infrastructure.errors import StudyHeldError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject, calls
from tests.faults.servers import running
from tests.faults.test_store_away import holds_once, use
from training.execution.mlflow_setup import create_training_mlflow_run
from training.hpo.execution.local.sweep import sweep
from training.hpo.tracking import claims, study_runs
from training.hpo.tracking.claims import Claim, StudyClaim

STARTS = {store: int(os.environ.get(f"STARTS_{store.upper()}", "4")) for store in ("file", "server")}
DRIVER = textwrap.dedent(
    """
    import sys
    from infrastructure.errors import StudyHeldError
    from training.hpo.execution.local.sweep import sweep
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            sweep(sys.argv[1], [f"hpo.seed={line.strip()}"])
            print("done", flush=True)
        except StudyHeldError as error:
            print(error, flush=True)
        except Exception as error:
            print(f"failed with {error!r}", flush=True)
    """
)


def driver(config_dir: Path) -> subprocess.Popen[str]:
    """Start a process that sweeps once for each seed that it reads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(config_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"},
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a driver."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_until_told(config_dir: Path) -> Path:
    """Let a project's trainings wait for a file, and return the file: the study is held until it is there."""
    told = config_dir.parent / "told"
    function = config_dir.parent / "objective.py"
    wait = f"    import time\n    while not Path({str(told)!r}).exists():\n        time.sleep(0.005)\n    loss ="
    function.write_text(function.read_text().replace("    loss =", wait))
    return told


def start_both(drivers: list[subprocess.Popen[str]], seed: int, told: list[Path]) -> list[str]:
    """Let two drivers begin a study at the same moment; the one that has it goes on when the other has answered."""
    for file in told:
        file.unlink(missing_ok=True)
    for process in drivers:
        assert process.stdin is not None
        process.stdin.write(f"{seed}\n")
        process.stdin.flush()
    answering = {process.stdout.fileno(): process for process in drivers if process.stdout is not None}
    first, *_ = wait(answering, timeout=120)
    assert isinstance(first, int)
    answer = said(answering.pop(first))
    for file in told:
        file.touch()
    return [answer, *(said(process) for process in answering.values())]


@pytest.mark.parametrize("store", ["server", "file"])
def test_one_of_two_has_the_study(make_project: MakeProject, tmp_path: Path, empty_store: Path, store: str) -> None:
    """Started at the same moment in two folders, or in one: one sweeps, the other names it; each run is there once."""
    starts = STARTS[store]
    with ExitStack() as stack:
        first = make_project("first", {"max_trials": 2})
        second = first
        if store == "server":
            server = stack.enter_context(running(tmp_path / "server", empty_store))
            second = use(make_project("second", {"max_trials": 2}), server.address)
            use(first, server.address)
        projects = list({first: None, second: None})
        told = [wait_until_told(config_dir) for config_dir in projects]
        drivers = [stack.enter_context(driver(config_dir)) for config_dir in (first, second)]
        assert [said(process) for process in drivers] == ["ready", "ready"]
        begun = time.monotonic()
        for seed in range(starts):
            loser, winner = start_both(drivers, seed, told)
            assert winner == "done", f"seed {seed}: {winner}"
            assert "is being worked on by process" in loser
        print(f"{starts} starts of two drivers on a {store} in {time.monotonic() - begun:.0f} s")
        for process in drivers:
            process.kill()
        setup_mlflow(config_dir=first)
        keys = {run.tags[tags.STUDY_KEY] for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})}
        assert len(keys) == starts
        for key in keys:
            holds_once(key, 2)
        assert sum(len(calls(config_dir)) for config_dir in projects) == starts * 4


def test_a_run_that_another_driver_has_found_stays(
    make_project: MakeProject, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that creates the study's run, and loses it to one that has found it by then, leaves that run alone."""
    created: list[str] = []

    def create_and_lose(*arguments: Any, **keywords: Any) -> Any:
        run_id, run = create_training_mlflow_run(*arguments, **keywords)
        owner = Claim(state="owner", host="elsewhere", pid=9, renewed=time.time() + 30)
        runs.set_tag(run_id, f"{tags.CLAIM}.other", owner.model_dump_json())
        created.append(run_id)
        return run_id, run

    monkeypatch.setattr(study_runs, "create_training_mlflow_run", create_and_lose)
    with running(tmp_path / "server", empty_store) as server:
        config_dir = use(make_project(hpo={"max_trials": 1}), server.address)
        with pytest.raises(StudyHeldError, match="process 9 on elsewhere"):
            sweep(config_dir)
        (run,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
        assert (run.run_id, run.status) == (created[0], "RUNNING")


def test_a_claim_lapses_and_is_lost(
    make_project: MakeProject, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead holder's claim lapses by the server's clock; a holder that was away too long gives way to the next."""
    with running(tmp_path / "server", empty_store) as server:
        config_dir = use(make_project(hpo={"max_trials": 1}), server.address)
        result = sweep(config_dir)
        study = (result.study_key_hash, 1)
        assert not [key for key in queries.get_run(result.run_id).tags if key.startswith(tags.CLAIM)]
        dead = Claim(state="owner", host="elsewhere", pid=7, renewed=time.time() - 20)
        runs.set_tag(result.run_id, f"{tags.CLAIM}.dead", dead.model_dump_json())
        with pytest.raises(StudyHeldError, match=r"process 7 on elsewhere; .* its claim lapses within 60 s"):
            sweep(config_dir, ["hpo.max_trials=2"])
        monkeypatch.setattr(claims, "LASTS", 8)
        lost: list[StudyHeldError] = []
        held = StudyClaim(study, result.run_id)
        kept = [key for key in queries.get_run(result.run_id).tags if key.startswith(tags.CLAIM)]
        assert kept == [f"{tags.CLAIM}.{held._name}"]  # the dead one's is cleared away
        other = Claim(state="owner", host="elsewhere", pid=8, renewed=time.time() + 60)
        runs.set_tag(result.run_id, f"{tags.CLAIM}.other", other.model_dump_json())
        held.keep(lost.append)
        deadline = time.monotonic() + 30
        while not lost:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        held.release()
        assert "process 8 on elsewhere" in str(lost[0])
        assert json.loads(queries.get_run(result.run_id).tags[f"{tags.CLAIM}.other"])["pid"] == 8
        assert current_session().live_runs == set()
