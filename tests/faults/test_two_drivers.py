"""Two drivers that start at the same time on one study: one has it, the other is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from infrastructure.errors import StudyHeldError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject, calls
from tests.faults.servers import running
from tests.faults.test_store_away import holds_once, use
from training.hpo.execution.local.sweep import sweep
from training.hpo.tracking import claims
from training.hpo.tracking.claims import Claim, StudyClaim

STARTS = int(os.environ.get("STARTS", "4"))
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


@pytest.mark.parametrize("store", ["server", "file"])
def test_one_of_two_has_the_study(make_project: MakeProject, tmp_path: Path, empty_store: Path, store: str) -> None:
    """Started at the same moment in two folders, or in one: one sweeps, the other names it; each run is there once."""
    with running(tmp_path / "server", empty_store) as server:
        first = make_project("first", {"max_trials": 2})
        second = make_project("second", {"max_trials": 2}) if store == "server" else first
        for config_dir in {first, second}:
            function = config_dir.parent / "objective.py"
            function.write_text(
                function.read_text().replace("    loss =", "    import time; time.sleep(0.5)\n    loss =")
            )
            if store == "server":
                use(config_dir, server.address)
        drivers = [driver(first), driver(second)]
        assert [said(process) for process in drivers] == ["ready", "ready"]
        for seed in range(STARTS):
            for process in drivers:
                assert process.stdin is not None
                process.stdin.write(f"{seed}\n")
                process.stdin.flush()
            answers = sorted(said(process) for process in drivers)
            assert answers[0] == "done"
            assert "is being worked on by process" in answers[1]
        for process in drivers:
            process.kill()
            process.wait()
        setup_mlflow(config_dir=first)
        keys = {run.tags[tags.STUDY_KEY] for run in queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})}
        assert len(keys) == STARTS
        for key in keys:
            holds_once(key, 2)
        assert len(calls(first)) + (len(calls(second)) if second != first else 0) == STARTS * 4


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
