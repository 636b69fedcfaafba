"""How many short trials a study gets done with many workers, and what a second worker is worth to a long one.

The trials sleep for 50 ms, so the ideal rate is the workers divided by that. Beside Assay's whole sweep stand Optuna's
journal file and its SQLite storage, with as many processes that call `study.optimize`. All propose from a random
sampler, each arm in a process of its own, in turns. In all arms the clock starts when what is needed is imported and
the store created, processes are started on the clock, and it stops when every trial is on disk. Assay writes every
trial and its fold to MLflow too; the clock that stops when they are all there is shown beside. The overhead of a trial
is the time from its proposal until it is told, without its sleep; the first trial of each worker, which waits for its
process, is left out of it in all arms.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from common import Goal, Timing, show, write_project, write_results
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.records import TrialRecord
from training.hpo.tracking.study_runs import stored_trials

SLEEP, BUSY = 0.05, 0.5
WORK: Final = {
    "sleep": f"time.sleep({SLEEP})",
    "busy": f"start = time.process_time()\n    while time.process_time() - start < {BUSY}:\n        pass",
}
STUDY: Final = "peer"
PEERS: Final = ("journal", "sqlite")


@dataclass(frozen=True)
class Measured:
    """What came of an arm: its seconds, the trials that completed and those that didn't, and each trial's overhead."""

    seconds: float
    drained: float
    completed: int
    errors: int
    overheads: list[float]

    @property
    def rate(self) -> float:
        """Trials in a second."""
        return self.completed / self.seconds


@dataclass
class Clock(Progress):
    """Notes how long each trial took, from its proposal until it was told."""

    started: dict[int, float] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)
    last: float = 0.0

    def trial_started(self, record: TrialRecord) -> None:
        """Note the start."""
        self.started[record.number] = time.perf_counter()

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:  # noqa: ARG002  as it is told
        """Note the end."""
        self.last = time.perf_counter()
        self.took[record.number] = self.last - self.started[record.number]


def assay(folder: Path, trials: int, workers: int, work: str) -> Measured:
    """Run a sweep of one fold a trial."""
    config_dir = write_project(folder / "project", trials)
    hpo = json.loads((config_dir / "hpo.yaml").read_text())
    hpo |= {"cv": {"type": "holdout"}, "sampler": {"type": "random"}, "workers": workers}
    (config_dir / "hpo.yaml").write_text(json.dumps(hpo))
    function = f"import time\n\n\ndef train(params):\n    {WORK[work]}\n    return {{'loss': params['x']}}\n"
    (folder / "project" / "objective.py").write_text(function)
    sweep(config_dir, ["hpo.study_name=first", "hpo.seed=1", "hpo.max_trials=1"])  # creates the store, imports it all
    project = open_project(config_dir)
    clock = Clock()
    started = time.perf_counter()
    result = sweep(config_dir, progress=clock)
    drained = time.perf_counter() - started
    completed = sum(record.state == "complete" for record in result.trials)
    stored = stored_trials(result.run_id, project.context.study_key_hash)
    assert len(stored) == trials, f"MLflow has {len(stored)} of {trials} trials"
    overheads = [took - SLEEP for number, took in clock.took.items() if number >= workers]
    return Measured(clock.last - started, drained, completed, trials - completed, overheads)


def storage_of(arm: str, folder: Path) -> optuna.storages.BaseStorage:
    """Return a peer's storage."""
    if arm == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return RDBStorage(f"sqlite:///{folder}/optuna.db")


def objective(trial: optuna.Trial) -> float:
    """Do what a fold of Assay's does, with the same parameters."""
    x = trial.suggest_float("x", 0, 1)
    trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    trial.suggest_int("depth", 1, 12)
    trial.suggest_categorical("kind", ["a", "b", "c"])
    time.sleep(SLEEP)
    return x


def optimize(arm: str, folder: Path, trials: int, seed: int) -> None:
    """Do one process's share of a peer's trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.load_study(study_name=STUDY, storage=storage_of(arm, folder), sampler=sampler)
    study.optimize(objective, n_trials=trials)


def peer(arm: str, folder: Path, trials: int, workers: int) -> Measured:
    """Let so many processes work at one study; a trial that its process died of is an error."""
    study = optuna.create_study(study_name=STUDY, storage=storage_of(arm, folder))
    context = multiprocessing.get_context("fork")  # as cheap as a start can be
    shares = [trials // workers + (index < trials % workers) for index in range(workers)]
    processes = [context.Process(target=optimize, args=(arm, folder, share, seed)) for seed, share in enumerate(shares)]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    found = study.get_trials(deepcopy=False)
    completed = sum(trial.state.name == "COMPLETE" for trial in found)
    took = [trial.duration.total_seconds() for trial in found if trial.duration and trial.number >= workers]
    return Measured(seconds, seconds, completed, trials - completed, [one - SLEEP for one in took])


def run(arm: str, trials: int, workers: int, work: str = "sleep") -> Measured:
    """Run an arm in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        words = ["--arm", arm, "--trials", str(trials), "--workers", str(workers), "--work", work, "--folder", folder]
        subprocess.run([sys.executable, __file__, *words], check=True)
        return Measured(**json.loads(answer.read_text()))


def p99(values: Sequence[float]) -> float:
    """Return the value that one in a hundred exceeds."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def timings(names: dict[str, str], measured: dict[str, list[Measured]]) -> list[Timing]:
    """Return the seconds of each arm, with its errors in its name."""
    return [
        Timing(f"{name} ({sum(m.errors for m in measured[arm])} errors)", [m.seconds for m in measured[arm]])
        for arm, name in names.items()
    ]


def typical_rate(measured: Sequence[Measured]) -> float:
    """Return the median rate."""
    return sorted(m.rate for m in measured)[len(measured) // 2]


def measure(trials: int, repetitions: int, busy_trials: int) -> tuple[dict[str, list[Timing]], list[Goal]]:
    """Run all arms in turns."""
    names = {"assay": "Assay", "journal": "Optuna, journal file", "sqlite": "Optuna, SQLite"}
    sixteen: dict[str, list[Measured]] = {arm: [] for arm in names}
    thirty_two, one, two = [], [], []
    for _ in range(repetitions):
        for arm in names:
            sixteen[arm].append(run(arm, trials, 16))
        thirty_two.append(run("assay", trials, 32))
        one.append(run("assay", busy_trials, 1, "busy"))
        two.append(run("assay", busy_trials, 2, "busy"))
    ideal = {workers: workers / SLEEP for workers in (16, 32)}
    tables = {
        f"{trials} trials of 50 ms, 16 workers": [
            Timing("ideal, computed", [trials / ideal[16]]),
            *timings(names, sixteen),
        ],
        f"{trials} trials of 50 ms, 32 workers": [
            Timing("ideal, computed", [trials / ideal[32]]),
            *timings({"assay": "Assay"}, {"assay": thirty_two}),
        ],
        f"{trials} trials of 50 ms, all in MLflow too": [
            Timing("Assay, 16 workers", [m.drained for m in sixteen["assay"]]),
            Timing("Assay, 32 workers", [m.drained for m in thirty_two]),
        ],
        "99th percentile of a trial's overhead, 16 workers": [
            Timing(name, [p99(m.overheads) for m in sixteen[arm]]) for arm, name in names.items()
        ],
        f"{busy_trials} trials of 0.5 s of one core": [
            Timing("Assay, 1 worker", [m.seconds for m in one]),
            Timing("Assay, 2 workers", [m.seconds for m in two]),
        ],
    }
    best_peer = max(typical_rate(sixteen[arm]) for arm in PEERS)
    speed_up = typical_rate(two) / typical_rate(one)
    errors = sum(m.errors for m in (*sixteen["assay"], *thirty_two, *one, *two))
    goals = [
        Goal("rate with 16 workers, × ideal", typical_rate(sixteen["assay"]) / ideal[16], at_least=0.85),
        Goal("rate with 32 workers, × ideal", typical_rate(thirty_two) / ideal[32], at_least=0.8),
        Goal("rate with 16 workers, × the better storage", typical_rate(sixteen["assay"]) / best_peer, at_least=3),
        Goal(
            "99th percentile of a trial's overhead with 32 workers, in seconds",
            sorted(p99(m.overheads) for m in thirty_two)[repetitions // 2],
            at_most=0.2,
        ),
        Goal("errors of Assay's", errors, at_most=0),
        Goal("speed-up by a second worker", speed_up, at_least=1.8),
    ]
    return tables, goals


def main() -> None:
    """Measure and print, or be one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=960)
    parser.add_argument("--busy-trials", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--arm", choices=["assay", *PEERS], help="be one arm; the others are for this")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--work", choices=list(WORK), default="sleep")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.arm:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if given.arm == "assay":
            measured = assay(given.folder, given.trials, given.workers, given.work)
        else:
            measured = peer(given.arm, given.folder, given.trials, given.workers)
        (given.folder / "answer.json").write_text(json.dumps(vars(measured)))
        return
    tables, goals = measure(given.trials, given.repetitions, given.busy_trials)
    for title, rows in tables.items():
        show(title, rows)
    print(f"  on {os.cpu_count()} cores")
    write_results("workers", tables, goals)


if __name__ == "__main__":
    main()
