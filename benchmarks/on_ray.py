"""How many short tasks a Ray cluster gets done for Assay, and what a second worker is worth to a long one.

The tasks sleep for 50 ms and 64 of them are at work at a time on a cluster of this machine, so the ideal rate is 64
divided by that; and with 16 at a time for 10 ms, of which one driver can't have too many. Beside Assay's whole sweep
stand its executor alone, Ray Tune, and as a limit Ray's tasks without anything. Each arm is a process of its own with a
cluster of its own, in turns, and does its work twice: the first time starts Ray's processes and imports what is needed,
the second is measured, in seconds a task. Tune's trials and Assay's propose from a random sampler; Tune keeps its
actors, as Assay keeps its processes, and gets a quarter of the trials, since it takes long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from common import Goal, Timing, show, write_project, write_results

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

from infrastructure.executors.base import Task
from infrastructure.executors.ray import RayExecutor, Resources
from training.hpo.execution.local.sweep import sweep
from workers import WORK

CORES: Final = os.cpu_count() or 1
MANY, FEW = (64, 0.05), (16, 0.01)
"""How many tasks at a time, and for how many seconds each sleeps."""


def tasks(_: Path, count: int, at_a_time: int, seconds: float) -> None:
    """Do so many of Ray's own tasks."""

    def pause() -> None:
        time.sleep(seconds)

    function: Any = ray.remote(num_cpus=CORES / at_a_time, max_retries=0)(pause)
    ray.get([function.remote() for _ in range(count)])


def executor(folder: Path, count: int, at_a_time: int, seconds: float) -> None:
    """Do so many tasks of the executor, each as soon as another has ended."""
    resources = Resources(CORES / at_a_time, 0, {})
    with RayExecutor(at_a_time, lambda *_: False, lambda *_: None, "local", resources, list) as running:
        for number in range(count):
            if running.running == at_a_time:
                assert all(outcome.state == "done" for outcome in running.wait())
            running.submit(Task(str(number), "sleeping:sleep_task", {"seconds": seconds}, folder / str(number)))
        while running.running:
            assert all(outcome.state == "done" for outcome in running.wait())


def reports(folder: Path, count: int, at_a_time: int, _: float) -> None:
    """Let as many tasks as there are at a time give so many reports in all, each answered before the next."""
    resources = Resources(CORES / at_a_time, 0, {})
    with RayExecutor(at_a_time, lambda *_: False, lambda *_: None, "local", resources, list) as running:
        for number in range(at_a_time):
            steps = {"steps": count // at_a_time}
            running.submit(Task(str(number), "sleeping:report_task", steps, folder / str(number)))
        while running.running:
            assert all(outcome.state == "done" for outcome in running.wait())


def sleeping_sweep(folder: Path, count: int, at_a_time: int, seconds: float) -> None:
    """Run a sweep of trials that sleep."""
    whole_sweep(folder, count, at_a_time, f"time.sleep({seconds})")


def busy_sweep(folder: Path, count: int, at_a_time: int, _: float) -> None:
    """Run a sweep of trials that take half a second of one core."""
    whole_sweep(folder, count, at_a_time, WORK["busy"])


def whole_sweep(folder: Path, count: int, at_a_time: int, work: str) -> None:
    """Run a sweep of so many trials of one fold, and leave it when all is in the store."""
    config_dir = write_project(folder / "project", count)
    hpo = json.loads((config_dir / "hpo.yaml").read_text())
    hpo |= {"cv": {"type": "holdout"}, "sampler": {"type": "random"}, "workers": at_a_time}
    (config_dir / "hpo.yaml").write_text(json.dumps(hpo))
    (config_dir / "executor.yaml").write_text(json.dumps({"type": "ray", "resources": {"cpu": CORES / at_a_time}}))
    function = f"import time\n\n\ndef train(params):\n    {work}\n    return {{'loss': params['x']}}\n"
    (folder / "project" / "objective.py").write_text(function)
    assert all(trial.state == "complete" for trial in sweep(config_dir).trials)


def tuned(folder: Path, count: int, at_a_time: int, seconds: float) -> None:
    """Let Ray Tune do so many trials."""
    from ray import tune  # noqa: PLC0415  for this arm alone

    def objective(config: dict[str, float]) -> None:
        time.sleep(seconds)
        tune.report({"loss": config["x"]})

    space = {
        "x": tune.uniform(0, 1),
        "rate": tune.loguniform(1e-5, 1e-1),
        "depth": tune.randint(1, 13),
        "kind": tune.choice(["a", "b", "c"]),
    }
    found = tune.Tuner(
        tune.with_resources(objective, {"cpu": CORES / at_a_time}),
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=count, max_concurrent_trials=at_a_time, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    assert len(found) == count
    assert found.num_errors == 0


ARMS: Final[Mapping[str, Callable[[Path, int, int, float], None]]] = {
    "tasks": tasks,
    "executor": executor,
    "reports": reports,
    "sweep": sleeping_sweep,
    "busy": busy_sweep,
    "tune": tuned,
}
NAMES: Final = {
    "tasks": "Ray's tasks alone",
    "executor": "Assay's executor alone",
    "sweep": "Assay, a whole sweep in MLflow",
    "tune": "Ray Tune",
}


def run(arm: str, count: int, at_a_time: int, seconds: float = 0.0) -> float:
    """Run an arm in a process of its own, and return its seconds a task."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = ["--count", str(count), "--at-a-time", str(at_a_time), "--seconds", str(seconds)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, __file__, "--arm", arm, *sizes, "--folder", folder]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arm}: {done.stderr[-2_000:]}")
        return float(Path(folder, "seconds").read_text()) / count


def be(arm: str, folder: Path, count: int, at_a_time: int, seconds: float) -> None:
    """Do an arm's work twice, and write how long it took the second time."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False, configure_logging=False)
    took = 0.0
    for turn, how_many in (("first", 2 * at_a_time), ("second", count)):
        (folder / turn).mkdir()
        started = time.perf_counter()
        ARMS[arm](folder / turn, how_many, at_a_time, seconds)
        took = time.perf_counter() - started
    (folder / "seconds").write_text(str(took))


def measure(count: int, busy: int, repetitions: int) -> tuple[dict[str, list[Timing]], list[Goal]]:
    """Run all arms in turns."""
    many: dict[str, list[float]] = {arm: [] for arm in NAMES}
    few: dict[str, list[float]] = {arm: [] for arm in NAMES if arm != "tune"}
    long: dict[int, list[float]] = {1: [], 2: []}
    told: list[float] = []
    for _ in range(repetitions):
        for arm, measured in many.items():
            measured.append(run(arm, count // 4 if arm == "tune" else count, *MANY))
        for arm, measured in few.items():
            measured.append(run(arm, count, *FEW))
        for workers, measured in long.items():
            measured.append(run("busy", busy, workers))
        told.append(run("reports", count, FEW[0]))
    ideal = Timing("ideal, computed", [MANY[1] / MANY[0]])
    rows = {arm: Timing(name, many[arm]) for arm, name in NAMES.items()}
    tables = {
        "one of many tasks of 50 ms, 64 at a time": [ideal, *rows.values()],
        "one of many tasks of 10 ms, 16 at a time": [
            Timing("ideal, computed", [FEW[1] / FEW[0]]),
            *(Timing(NAMES[arm], measured) for arm, measured in few.items()),
        ],
        "one of many reports, 16 tasks at a time": [Timing("Assay's executor alone", told)],
        "one of many trials of 0.5 s of one core": [Timing(f"Assay, {n} at a time", long[n]) for n in long],
    }
    one, two = (Timing("", long[workers]).typical for workers in (1, 2))
    goals = [
        Goal("rate of the executor, 64 at a time, × ideal", ideal.typical / rows["executor"].typical, at_least=0.85),
        Goal("rate of a whole sweep, 64 at a time, × ideal", ideal.typical / rows["sweep"].typical, at_least=0.85),
        Goal("rate of a whole sweep, × Ray Tune", rows["tune"].typical / rows["sweep"].typical, at_least=1),
        Goal("speed-up by a second worker", one / two, at_least=1.8),
    ]
    return tables, goals


def main() -> None:
    """Measure and print, or be one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_920)
    parser.add_argument("--busy", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--arm", choices=list(ARMS), help="be one arm; the others are for this")
    parser.add_argument("--at-a-time", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.arm:
        be(given.arm, given.folder, given.count, given.at_a_time, given.seconds)
        return
    tables, goals = measure(given.count, given.busy, given.repetitions)
    for title, rows in tables.items():
        show(title, rows)
    print(f"  on {CORES} cores")
    write_results("on_ray", tables, goals)


if __name__ == "__main__":
    main()
