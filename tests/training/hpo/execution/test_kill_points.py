"""Drivers that are killed between two writes to the tracking store, against the same study left alone.

All points are tried with `KILL_EVERY=1`; every second one otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import MakeProject, calls

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.execution.status import study_status
from training.hpo.records import TrialRecord

KILL_EVERY = int(os.environ.get("KILL_EVERY", "2"))
OBJECTIVE = textwrap.dedent(
    """
    import json
    from pathlib import Path

    def train(params, train, valid, seed, report, model_dir):
        with open(Path(__file__).parent / "calls.jsonl", "a") as log:
            log.write(json.dumps([params, float(train["value"].sum())]) + "\\n")
        if params["x"] > 0.9:
            raise RuntimeError("too large")
        for step in (1, 2, 3, 4):
            report(step, {"loss": params["x"] * (step >= 3) + 10 / step})
        return {"loss": params["x"]}
    """
)
HPO = {"max_trials": 7, "seed": 2, "pruner": {"type": "median", "n_startup_trials": 1}}
# Forks a driver for each line `config_dir n`, which dies before its n-th write to the store; 0 for none.
LAUNCHER = textwrap.dedent(
    """
    import os, signal, sys, traceback
    from mlflow import MlflowClient
    from training.hpo.execution.local.sweep import sweep

    WRITES = ("create_run", "log_batch", "set_terminated", "set_tag", "delete_tag", "update_run", "log_text")
    count = 0

    def counted(method, last):
        def call(*arguments, **keywords):
            global count
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments, **keywords)
        return call

    print("ready", flush=True)
    for line in sys.stdin:
        config_dir, last = line.split()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            for name in WRITES:
                setattr(MlflowClient, name, counted(getattr(MlflowClient, name), int(last)))
            code = 1
            try:
                sweep(config_dir)
                code = 0
            except BaseException:
                traceback.print_exc()
            os.write(writing, str(count).encode())
            os._exit(code)
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, os.read(reading, 20).decode() or 0, flush=True)
        os.close(reading)
    """
)
Drive = Callable[[Path, int], tuple[int, int]]


@contextmanager
def driver(log: Path) -> Iterator[Drive]:
    """Yield a function that runs a sweep up to a write, and returns its exit code and how many writes it made."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            text=True,
        ) as process,
    ):
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n"

        def drive(config_dir: Path, last: int) -> tuple[int, int]:
            stdin.write(f"{config_dir} {last}\n")
            stdin.flush()
            code, count = stdout.readline().split()
            return int(code), int(count)

        yield drive


def study(make_project: MakeProject, name: str) -> Path:
    """Return a project whose trials complete, fail and are pruned."""
    config_dir = make_project(name, HPO)
    (config_dir.parent / "objective.py").write_text(OBJECTIVE)
    train = json.loads((config_dir / "train.yaml").read_text())
    del train["predict"]
    (config_dir / "train.yaml").write_text(json.dumps(train))
    return config_dir


def trials_of(config_dir: Path) -> list[TrialRecord]:
    """Return what the store has of each trial, but for how long its folds took and where its log lies."""
    found = study_status(config_dir).result
    assert found is not None
    return [
        trial.model_copy(
            update={
                "folds": {index: fold.model_copy(update={"seconds": 0.0}) for index, fold in trial.folds.items()},
                "failure": trial.failure.partition(" (log: ")[0],
            }
        )
        for trial in found.trials
    ]


def test_a_kill_between_any_two_writes_changes_nothing(make_project: MakeProject, tmp_path: Path) -> None:
    """Whichever write comes last: the same trials, at most the fold that was cut once more, nothing left RUNNING."""
    alone = study(make_project, "alone")
    log = tmp_path / "drivers.log"
    with driver(log) as drive:
        code, writes = drive(alone, 0)
        assert code == 0, log.read_text()
        expected = trials_of(alone)
        assert {trial.state for trial in expected} == {"complete", "pruned", "failed"}
        assert writes > 60
        for last in range(2, writes + 1, KILL_EVERY):
            config_dir = study(make_project, f"killed-{last}")
            assert drive(config_dir, last)[0] == -9
            assert drive(config_dir, 0)[0] == 0, log.read_text()
            assert trials_of(config_dir) == expected, f"killed before write {last}"
            assert len(calls(config_dir)) <= len(calls(alone)) + 1, f"killed before write {last}"
            setup_mlflow("assay", config_dir)
            stages = (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD)
            runs = [run for stage in stages for run in queries.find_runs({tags.STAGE: stage})]
            assert "RUNNING" not in {run.status for run in runs}, f"killed before write {last}"
            whole = [run for run in runs if run.tags[tags.STAGE] != tags.STAGE_FOLD]
            assert all(run.is_done for run in whole), f"killed before write {last}"
