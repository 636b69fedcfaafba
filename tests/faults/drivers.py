"""A study small enough to be killed at every boundary, and the processes that drive it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import REPOSITORY, MakeProject
from tests.faults.invariant import Kill
from tests.faults.launcher import Attempt, Ending
from tests.faults.observation import Observation, acknowledged, noted_calls

OBJECTIVE = textwrap.dedent(
    """
    import json, os, time
    from pathlib import Path

    TOO_LARGE, PAUSE = 0.5, 0.0

    def train(params, train, valid, seed, report, checkpoints, model_dir):
        what = "refit" if model_dir is not None else float(train["value"].sum())
        log = os.open(Path(__file__).parent / "calls.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, json.dumps([params["x"], what]).encode() + b"\\n")  # whole or not at all
        os.close(log)
        if params["x"] > TOO_LARGE and what != "refit":
            raise RuntimeError("too large")
        folder = checkpoints.restore()
        for step in (1, 2) if folder is None else (2,):
            time.sleep(PAUSE)
            report(step, {"loss": params["x"] + 1 / step})
            if step == 1 and checkpoints.is_due:
                checkpoints.save(lambda folder: (folder / "step.json").write_text("1"))
        if model_dir is not None:
            (model_dir / "x.json").write_text(json.dumps(params["x"]))
        return {"loss": params["x"], "test_loss": params["x"] * 2}

    def predict(model_dir, frame):
        x = json.loads((Path(model_dir) / "x.json").read_text())
        return [x * value for value in frame["value"]]
    """
)


def make_study(make_project: MakeProject, name: str, **hpo: object) -> Path:
    """Return the config folder of a project whose first three trials complete, fail and are pruned."""
    settings = {"max_trials": 3, "seed": 2, "pruner": {"type": "median", "n_startup_trials": 1}}
    config_dir = make_project(name, {**settings, **hpo}, checkpoint_interval=0)
    (config_dir.parent / "objective.py").write_text(OBJECTIVE)
    return config_dir


def make_slow_study(make_project: MakeProject, name: str, workers: int) -> Path:
    """Return the config folder of a project whose trainings take a moment; with several workers they all complete.

    What becomes of the folds beside one that fails, or of a fold beside the one that the pruner compares it with,
    depends on the moment.
    """
    settings: dict[str, object] = {"max_trials": 5, "workers": workers}
    if workers > 1:
        settings["pruner"] = {"type": "none"}
    config_dir = make_study(make_project, name, **settings)
    function = config_dir.parent / "objective.py"
    slow = f"TOO_LARGE, PAUSE = {2.0 if workers > 1 else 0.5}, 0.03"
    function.write_text(function.read_text().replace("TOO_LARGE, PAUSE = 0.5, 0.0", slow))
    return config_dir


class Drivers:
    """Starts drivers, and looks at what they leave."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the launcher died"
        return line

    def _ask(self, **request: object) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._line()

    def start(self, attempt: Attempt) -> int:
        """Start a driver, which leads a process group of its own, and return its process id."""
        return int(self._ask(start=attempt.model_dump()))

    def has_ended(self, pid: int) -> bool:
        """Tell whether a driver has ended that nobody has waited for."""
        return bool(json.loads(self._ask(ended=pid)))

    def wait(self, pid: int) -> Ending:
        """Wait for the end of a driver."""
        return Ending.model_validate_json(self._ask(wait=pid))

    def drive(self, attempt: Attempt) -> Ending:
        """Start a driver and wait for its end."""
        return self.wait(self.start(attempt))

    def look(self, config_dir: Path, environment: Mapping[str, str] = {}) -> Observation:
        """Return what there is of a project's study, as seen with this added to the environment."""
        return Observation.model_validate_json(self._ask(look=str(config_dir), environment=environment))


@contextmanager
def driving(make_project: MakeProject, log: Path) -> Iterator[Drivers]:
    """Yield what starts drivers; they end with the context, and what they print is in `log`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    warm = make_study(make_project, "warm")
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", str(warm)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**kept, **quiet},
            text=True,
        ) as process,
    ):
        yield Drivers(process)


def kill_of(config_dir: Path) -> Kill:
    """Return what had been acknowledged and begun, right after a kill."""
    return Kill(frozenset(acknowledged(config_dir)), Counter(noted_calls(config_dir)))


def units_of(alone: Observation) -> Mapping[str, str]:
    """Return what each noted call was of, as `trial fold` or `refit`; the first trial has all its folds, in order."""
    numbers = {trial.params["x"]: trial.number for trial in alone.trials}
    noted = {call: json.loads(call) for call in alone.calls}
    folds = [what for x, what in noted.values() if numbers[x] == 0 and what != "refit"]
    return {
        call: "refit" if what == "refit" else f"{numbers[x]} {folds.index(what)}" for call, (x, what) in noted.items()
    }


def seeded(*what: object) -> random.Random:
    """Return a generator that is the same each time."""
    return random.Random(" ".join(map(str, what)))
