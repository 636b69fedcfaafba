"""Studies that are killed ten times over, against the same studies left alone, for each sampler."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import MakeProject, calls, unsent_folds

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.execution.status import study_status
from training.hpo.records import TrialRecord

TRIALS, FOLDS, KILLS = 30, 2, 10
OBJECTIVE = textwrap.dedent(
    '''
    """A training of two epochs that depends on all hyperparameters and on the fold; it notes every call."""
    import json, time
    from pathlib import Path

    def train(params, train, valid, seed, report, model_dir):
        fold = float(train["value"].sum())
        with open(Path(__file__).parent / "calls.jsonl", "a") as log:
            log.write(json.dumps([params, fold]) + "\\n")
        x, rate, n = params["x"], params["rate"], params["n"]
        loss = (x - 0.3) ** 2 + abs(rate - 0.01) + 0.02 * n + 1e-4 * fold
        for step in (1, 2):
            time.sleep(0.01)
            report(step, {"loss": loss + 1 / step})
        return {"loss": loss}
    '''
)
SPACE = {
    "x": {"type": "uniform", "low": 0.0, "high": 1.0},
    "rate": {"type": "loguniform", "low": 1e-4, "high": 1e-1},
    "n": {"type": "int", "low": 1, "high": 9},
}
GRID = {
    "x": {"type": "stepped", "low": 0.0, "high": 1.0, "step": 0.25},
    "rate": {"type": "choice", "values": [0.001, 0.01]},
    "n": {"type": "int", "low": 1, "high": 4},
}
SAMPLERS = {
    "random": (SPACE, {}),
    "tpe": (SPACE, {"n_startup_trials": 5}),
    "gp": (SPACE, {"n_startup_trials": 5}),
    "cmaes": (SPACE, {"n_startup_trials": 3}),
    "qmc": (SPACE, {}),
    "grid": (GRID, {}),
}
# Forks a driver for each line that it reads: a sweep that has MLflow imported already starts in no time.
LAUNCHER = textwrap.dedent(
    """
    import os, sys, traceback
    from training.hpo.execution.local.sweep import sweep
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            try:
                sweep(line.strip())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    """
)


class Launcher:
    """Starts drivers, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the launcher died"
        return line

    def start(self, config_dir: Path) -> int:
        """Start a sweep and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{config_dir}\n")
        self._process.stdin.flush()
        return int(self._line())

    def exit_code(self) -> int:
        """Wait for the sweep that was started and return its exit code, below zero for a signal."""
        return int(self._line())


@contextmanager
def launcher(log: Path) -> Iterator[Launcher]:
    """Yield a launcher, which ends with the context."""
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
        yield Launcher(process)


def make_study(make_project: MakeProject, name: str, sampler: str) -> Path:
    """Return the config folder of a project whose study uses a sampler, prunes by epoch and prunes across folds."""
    space, settings = SAMPLERS[sampler]
    hpo = {
        "search_space": space,
        "sampler": {"type": sampler, **settings},
        "pruner": {"type": "percentile", "percentile": 75.0},
        "fold_pruner": {"type": "forgiving"},
        "max_trials": TRIALS,
        "seed": 11,
    }
    config_dir = make_project(name, hpo)
    (config_dir.parent / "objective.py").write_text(OBJECTIVE)
    train = json.loads((config_dir / "train.yaml").read_text())
    del train["predict"]
    (config_dir / "train.yaml").write_text(json.dumps(train))
    return config_dir


def trials_of(config_dir: Path) -> list[TrialRecord]:
    """Return what the store has of each trial, but for how long its folds took."""
    found = study_status(config_dir).result
    assert found is not None
    untimed = [
        {index: fold.model_copy(update={"seconds": 0.0}) for index, fold in trial.folds.items()}
        for trial in found.trials
    ]
    return [t.model_copy(update={"folds": folds}) for t, folds in zip(found.trials, untimed, strict=True)]


def kill_after(config_dir: Path, pid: int, call_count: int, delay: float) -> bool:
    """Kill a driver `delay` seconds after so many folds were begun in all; False if it ended before."""
    deadline = time.monotonic() + 300
    while len(calls(config_dir)) < call_count:
        assert time.monotonic() < deadline
        if not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return True


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_killed_study_is_the_uninterrupted_one(make_project: MakeProject, tmp_path: Path, sampler: str) -> None:
    """Ten kills at random moments, files deleted after half of them: the same trials, and no finished fold again."""
    rng = random.Random(f"{sampler} 3")
    alone, killed = (make_study(make_project, name, sampler) for name in ("alone", "killed"))
    cut: Counter[str] = Counter()
    kills = lost = 0
    with launcher(tmp_path / "drivers.log") as drivers:
        drivers.start(alone)
        assert drivers.exit_code() == 0, (tmp_path / "drivers.log").read_text()
        whole = len(calls(alone))
        for point in sorted(rng.sample(range(1, whole - 1), KILLS)):
            pid = drivers.start(killed)
            was_killed = kill_after(killed, pid, max(point, len(calls(killed)) + 1), rng.uniform(0, 0.15))
            assert (was_killed, drivers.exit_code()) == (True, -signal.SIGKILL)
            kills += 1
            time.sleep(0.1)  # a worker that lost its driver ends at its next report
            cut[json.dumps(calls(killed)[-1])] += 1
            if kills % 2:
                lost += unsent_folds(killed)
                shutil.rmtree(killed.parent / "outputs")
        drivers.start(killed)
        assert drivers.exit_code() == 0, (tmp_path / "drivers.log").read_text()
    expected = trials_of(alone)
    assert len(expected) == TRIALS
    assert {"complete", "pruned"} == {trial.state for trial in expected}
    assert trials_of(killed) == expected
    begun = Counter(json.dumps(call) for call in calls(killed))
    again = begun - Counter(json.dumps(call) for call in calls(alone))
    # With the folder goes what the store hadn't got yet.
    assert sum((again - cut).values()) <= lost, "a fold that was kept, and that no kill had cut, was trained again"
    assert set(begun) == {json.dumps(call) for call in calls(alone)}
    setup_mlflow("assay", killed)
    studies, trials, folds = (
        queries.find_runs({tags.STAGE: stage}) for stage in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD)
    )
    assert (len(studies), len(trials)) == (1, TRIALS)
    assert {run.is_done for run in (*studies, *trials)} == {True}
    assert "RUNNING" not in {run.status for run in (*studies, *trials, *folds)}
    assert {run.is_done for run in folds if run.status == "FINISHED"} == {True}
