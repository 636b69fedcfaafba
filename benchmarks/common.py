"""What the benchmarks share: a project to measure, and how results are shown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass
class Timing:
    """Seconds that were measured, one for each repetition."""

    name: str
    seconds: list[float]

    @property
    def typical(self) -> float:
        """The median."""
        return median(self.seconds)


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
            "cv": {"type": "kfold", "folds": 2},
            "max_trials": max_trials,
        },
        "train": {"trainer": "function", "backbone": "objective:train"},
    }
    for section, values in configs.items():
        (root / "config" / f"{section}.yaml").write_text(json.dumps(values))
    return root / "config"
