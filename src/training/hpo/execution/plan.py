"""What a sweep, or the whole way, would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from training.data.folds import count_folds
from training.hpo.execution.choosing import stored_choice
from training.hpo.execution.project import Project, open_project
from training.hpo.execution.status import StudyStatus, status_of
from training.hpo.tracking.model_runs import REFIT, ModelRuns, Protocol
from training.hpo.tracking.study_runs import TrialRun


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


@dataclass(frozen=True)
class RunPlan:
    """What the whole way would do: the sweep, and of refit and final training those that the store hasn't got.

    `seconds` is for all of it, a training on everything being as long as a fold with that many rows more; None if no
    fold is there to tell from.
    """

    sweep: SweepPlan
    trainings: tuple[str, ...]
    seconds: float | None


def plan_sweep(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> SweepPlan:
    """Return what `sweep` would do; no run is created. Raises what `sweep` does of faulty configurations."""
    project = open_project(config_dir, overrides)
    return _plan_sweep(project, status_of(project))


def plan_run(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> RunPlan:
    """Return what `run` would do; no run is created. Raises what `sweep` does of faulty configurations."""
    project = open_project(config_dir, overrides)
    status = status_of(project)
    sweep = _plan_sweep(project, status)
    protocols = {"refit": REFIT, "final training": Protocol.of_final(project.config.train.final)}
    trainings = tuple(name for name, protocol in protocols.items() if not _is_done(project, status, sweep, protocol))
    folds = [fold.seconds for record in status.trials for fold in record.folds.values() if fold.metrics]
    seconds = None
    if folds:
        growth = sweep.fold_count / (sweep.fold_count - 1) if sweep.fold_count > 1 else 1.0
        seconds = (sweep.seconds or 0.0) + len(trainings) * fmean(folds) * growth
    return RunPlan(sweep, trainings, seconds)


def _is_done(project: Project, status: StudyStatus, sweep: SweepPlan, protocol: Protocol) -> bool:
    """Tell whether the store has this training of the trial that is chosen, which trials that are left may replace."""
    chosen = stored_choice(project, status.trials).chosen
    if chosen is None or sweep.trials_left:
        return False
    run_id = status.trial_run_ids[status.trials.index(chosen)]
    trainings = ModelRuns(project.context, project.config.train, protocol, status.run_id)
    found = trainings.find(TrialRun(run_id, chosen))
    return found is not None and found.is_done


def _plan_sweep(project: Project, status: StudyStatus) -> SweepPlan:
    hpo = project.config.hpo
    own = [record for record in status.trials if not record.imported_from]
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
