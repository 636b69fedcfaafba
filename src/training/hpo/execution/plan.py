"""What a sweep would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from training.data.folds import count_folds
from training.hpo.execution.project import open_project
from training.hpo.execution.status import status_of


@dataclass(frozen=True)
class SweepPlan:
    """What is there of a study and what would be done: `fold_count` folds a trial, `workers` of them at a time.

    `seconds` is how long the trials that are left take if they are like those that are there; None if there are none.
    """

    name: str
    trials_done: int
    trials_interrupted: int
    trials_left: int
    fold_count: int
    workers: int
    seconds: float | None


def plan_sweep(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> SweepPlan:
    """Return what `sweep` would do; no run is created. Raises what `sweep` does of faulty configurations."""
    project = open_project(config_dir, overrides)
    hpo = project.config.hpo
    own = [record for record in status_of(project).trials if not record.imported_from]
    done = [record for record in own if record.state != "running"]
    trained = [record.training_seconds for record in done if record.answered_by is None and record.folds]
    left = max(0, hpo.max_trials - len(done))
    return SweepPlan(
        name=project.run_name,
        trials_done=len(done),
        trials_interrupted=len(own) - len(done),
        trials_left=left,
        fold_count=count_folds(hpo.cv, project.config.root_dir),
        workers=hpo.workers,
        seconds=fmean(trained) * left / hpo.workers if trained else None,
    )
