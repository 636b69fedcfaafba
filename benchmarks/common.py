"""What the benchmarks share: a project to measure, and how results are shown and kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
CPU_INFO: Final = Path("/proc/cpuinfo")
PACKAGES: Final = ("blake3", "mlflow", "optuna", "optuna-integration", "scikit-learn", "torch", "transformers")


@dataclass
class Timing:
    """Seconds that were measured, one for each repetition."""

    name: str
    seconds: list[float]

    @property
    def typical(self) -> float:
        """The median."""
        return median(self.seconds)


@dataclass(frozen=True)
class Goal:
    """A figure, and the limit that it is to keep."""

    name: str
    figure: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its limit."""
        return (self.at_most is None or self.figure <= self.at_most) and (
            self.at_least is None or self.figure >= self.at_least
        )


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the seconds that the context took."""
    started = time.perf_counter()
    yield
    into.append(time.perf_counter() - started)


def alternate(repetitions: int, **actions: Callable[[], object]) -> list[Timing]:
    """Time actions in turns, so that whatever else the machine does falls on all of them alike."""
    timings = {name: Timing(name.replace("_", " "), []) for name in actions}
    for _ in range(repetitions):
        for name, action in actions.items():
            with timed(timings[name].seconds):
                action()
    return list(timings.values())


def show(title: str, timings: Sequence[Timing]) -> None:
    """Print medians, and each as a multiple of the first one's."""
    print(f"{title}:")
    for timing in timings:
        ratio = timing.typical / timings[0].typical
        spread = f"{min(timing.seconds):.4f} to {max(timing.seconds):.4f}"
        print(f"  {timing.name:45} {timing.typical:8.4f} s ({spread})   × {ratio:.2f}")


def cpu_model() -> str:
    """Return the processor's name, as Linux tells it; elsewhere what Python knows of it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write_results(
    name: str, tables: Mapping[str, Sequence[Timing]], goals: Sequence[Goal], peers: Mapping[str, str] = {}
) -> None:
    """Print which goals are met, and keep all figures of a benchmark, with machine, versions and date, as JSON.

    `peers` are the versions of what was measured beside and isn't installed here.
    """
    for goal in goals:
        limit = f"at most {goal.at_most:g}" if goal.at_most is not None else f"at least {goal.at_least:g}"
        print(f"  {'met' if goal.is_met else 'MISSED'}: {goal.name}: {goal.figure:.3f} ({limit})")
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {cpu_model()}, {platform.platform()}, Python {platform.python_version()}",
        "versions": {**{package: version(package) for package in PACKAGES}, **peers},
        "tables": {title: {timing.name: timing.seconds for timing in timings} for title, timings in tables.items()},
        "goals": [{**vars(goal), "is_met": goal.is_met} for goal in goals],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def dvc_version(dvc: Path) -> str:
    """Return the version of DVC, which has an environment of its own."""
    return subprocess.run([dvc, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def write_project(root: Path, max_trials: int) -> Path:
    """Write a project with a TPE study of two folds, and return its config folder."""
    (root / "config").mkdir(parents=True)
    (root / "data").mkdir()
    rows = [{"value": float(index), "label": float(index % 3)} for index in range(12)]
    (root / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "objective.py").write_text("def train(params, train, valid, seed, report, model_dir):\n    return {}\n")
    configs = {
        "data": {"task": "custom", "path": "data"},
        "hpo": {
            "study_name": "benchmark",
            "objective": {"metric": "loss", "direction": "minimize"},
            "search_space": {
                "x": {"type": "uniform", "low": 0.0, "high": 1.0},
                "rate": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
                "depth": {"type": "int", "low": 1, "high": 12},
                "kind": {"type": "choice", "values": ["a", "b", "c"]},
            },
            "pruner": {"type": "none"},
            "fold_pruner": {"type": "none"},
            "cv": {"type": "kfold", "folds": 2},
            "max_trials": max_trials,
        },
        "train": {"trainer": "function", "backbone": "objective:train"},
    }
    for section, values in configs.items():
        (root / "config" / f"{section}.yaml").write_text(json.dumps(values))
    return root / "config"
