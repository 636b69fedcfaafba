"""How many short tasks a Ray cluster gets done for Assay, and what a second worker is worth to a long one.

The tasks sleep for 50 ms and 64 of them are at work at a time on a cluster of this machine, so the ideal rate is 64
divided by that. Beside Assay's whole sweep stand its executor alone, Ray Tune, and as a limit Ray's tasks without
anything. Each arm is a process of its own with a cluster of its own, in turns, and does its work twice: the first time
starts Ray's processes and imports what is needed, the second is measured. Tune's trials and Assay's propose from a
random sampler; Tune keeps its actors, as Assay keeps its processes.
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
from workers import SLEEP, WORK

CORES: Final = os.cpu_count() or 1
AT_A_TIME: Final = 64
NAMES: Final = {
    "tasks": "Ray's tasks alone",
    "executor": "Assay's executor alone",
    "sweep": "Assay, a whole sweep in MLflow",
    "tune": "Ray Tune",
}


def tasks(_: Path, count: int, at_a_time: int, __: str) -> None:
    """Do so many of Ray's own tasks."""
    function: Any = ray.remote(num_cpus=CORES / at_a_time, max_retries=0)(lambda seconds: time.sleep(seconds))  # noqa: PLW0108  Ray takes no built-in
    waiting = [function.remote(SLEEP) for _ in range(count)]
    ray.get(waiting)


def executor(folder: Path, count: int, at_a_time: int, _: str) -> None:
    """Do so many tasks of the executor, each as soon as another has ended."""
    resources = Resources(CORES / at_a_time, 0, {})
    with RayExecutor(at_a_time, lambda *_: False, lambda *_: None, "local", resources, list) as running:
        for number in range(count):
            if running.running == at_a_time:
                assert all(outcome.state == "done" for outcome in running.wait())
            running.submit(Task(str(number), "sleeping:sleep_task", {"seconds": SLEEP}, folder / str(number)))
        while running.running:
            assert all(outcome.state == "done" for outcome in running.wait())


def whole_sweep(folder: Path, count: int, at_a_time: int, work: str) -> None:
    """Run a sweep of so many trials of one fold, and leave it when all is in the store."""
    config_dir = write_project(folder / "project", count)
    hpo = json.loads((config_dir / "hpo.yaml").read_text())
    hpo |= {"cv": {"type": "holdout"}, "sampler": {"type": "random"}, "workers": at_a_time}
    (config_dir / "hpo.yaml").write_text(json.dumps(hpo))
    (config_dir / "executor.yaml").write_text(json.dumps({"type": "ray", "resources": {"cpu": CORES / at_a_time}}))
    function = f"import time\n\n\ndef train(params):\n    {WORK[work]}\n    return {{'loss': params['x']}}\n"
    (folder / "project" / "objective.py").write_text(function)
    assert all(trial.state == "complete" for trial in sweep(config_dir).trials)


def tuned(folder: Path, count: int, at_a_time: int, _: str) -> None:
    """Let Ray Tune do so many trials."""
    from ray import tune  # noqa: PLC0415  for this arm alone

    def objective(config: dict[str, float]) -> None:
        time.sleep(SLEEP)
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


ARMS: Final[Mapping[str, Callable[[Path, int, int, str], None]]] = {
    "tasks": tasks,
    "executor": executor,
    "sweep": whole_sweep,
    "tune": tuned,
}


def run(arm: str, count: int, at_a_time: int, work: str = "sleep") -> float:
    """Run an arm in a process of its own, and return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        words = [arm, "--count", str(count), "--at-a-time", str(at_a_time), "--work", work, "--folder", folder]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        subprocess.run([sys.executable, __file__, "--arm", *words], check=True, env=environment)
        return float(Path(folder, "seconds").read_text())


def be(arm: str, folder: Path, count: int, at_a_time: int, work: str) -> None:
    """Do an arm's work twice, and write how long it took the second time."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False, configure_logging=False)
    seconds = 0.0
    for turn, how_many in (("first", 2 * at_a_time), ("second", count)):
        (folder / turn).mkdir()
        started = time.perf_counter()
        ARMS[arm](folder / turn, how_many, at_a_time, work)
        seconds = time.perf_counter() - started
    (folder / "seconds").write_text(str(seconds))


def measure(count: int, busy: int, repetitions: int) -> tuple[dict[str, list[Timing]], list[Goal]]:
    """Run all arms in turns."""
    short: dict[str, list[float]] = {arm: [] for arm in NAMES}
    long: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repetitions):
        for arm, seconds in short.items():
            seconds.append(run(arm, count, AT_A_TIME))
        for workers, seconds in long.items():
            seconds.append(run("sweep", busy, workers, "busy"))
    ideal = Timing("ideal, computed", [count * SLEEP / AT_A_TIME])
    rows = {arm: Timing(name, short[arm]) for arm, name in NAMES.items()}
    tables = {
        f"{count} tasks of 50 ms, {AT_A_TIME} at a time": [ideal, *rows.values()],
        f"{busy} trials of 0.5 s of one core": [Timing(f"Assay, {n} at a time", long[n]) for n in long],
    }
    one, two = (Timing("", long[workers]).typical for workers in (1, 2))
    goals = [
        Goal("rate of the executor, × ideal", ideal.typical / rows["executor"].typical, at_least=0.85),
        Goal("rate of a whole sweep, × ideal", ideal.typical / rows["sweep"].typical, at_least=0.85),
        Goal("rate of a whole sweep, × Ray Tune", rows["tune"].typical / rows["sweep"].typical, at_least=1),
        Goal("speed-up by a second worker", one / two, at_least=1.8),
    ]
    return tables, goals


def main() -> None:
    """Measure and print, or be one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--busy", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--arm", choices=list(ARMS), help="be one arm; the others are for this")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME)
    parser.add_argument("--work", choices=list(WORK), default="sleep")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.arm:
        be(given.arm, given.folder, given.count, given.at_a_time, given.work)
        return
    tables, goals = measure(given.count, given.busy, given.repetitions)
    for title, rows in tables.items():
        show(title, rows)
    print(f"  on {CORES} cores")
    write_results("on_ray", tables, goals)


if __name__ == "__main__":
    main()
