"""The choice by latency: candidates refitted, and the refits that nobody measured here measured."""

from __future__ import annotations

from infrastructure.errors import ExecutionError
from infrastructure.storage.own_files import delete_folder
from training.execution.latency import LatencyTask
from training.execution.mlflow_setup import ended_on_error
from training.hpo.execution.choosing import latency_conditions, stored_choice
from training.hpo.execution.local.model_training import study_trials, train_model
from training.hpo.execution.local.workers import executor_here, run_alone
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import Project
from training.hpo.selection import Choice
from training.hpo.tracking.latencies import Conditions, keep_latency
from training.hpo.tracking.model_runs import REFIT, fetch_model
from training.hpo.tracking.study_runs import TrialRun


def measured_choice(project: Project, progress: Progress, *, force: bool) -> Choice:
    """Refit and measure the candidates that aren't yet, with `force` all of them, and return the choice.

    Raises ExecutionError if a candidate can't be refitted or measured.
    """
    _, trials = study_trials(project)
    records = [trial.record for trial in trials.values()]
    conditions = latency_conditions(project)
    choice = stored_choice(project, records)
    if conditions is None or len(choice.candidates) < 2:
        return choice
    missing = [row.trial.number for row in choice.candidates if row.seconds is None or force]
    refitted = [train_model(project, number, REFIT, progress, force=force, register=False) for number in missing]
    for model in refitted:  # one straight after another, so that the machine is in the same state
        seconds = _measure(project, trials[model.trial_number], model.run_id, conditions, progress)
        keep_latency(model.run_id, seconds, conditions)
        progress.message(f"{model.run_name}: {seconds * 1e3:.3g} ms an example")
    return stored_choice(project, records)


def _measure(project: Project, trial: TrialRun, run_id: str, conditions: Conditions, progress: Progress) -> float:
    """Ask a refitted model in a process of its own, and return the seconds an example."""
    config, key = project.config, REFIT.key_hash(trial.record.trial_key_hash)
    model_dir = project.paths.refit(key).model
    if not model_dir.is_dir():  # it was refitted elsewhere, or what lies here was deleted
        fetch_model(run_id, model_dir)
    task = LatencyTask(
        task_id="latency",
        root_dir=config.root_dir,
        data=config.data,
        train=config.train,
        latency=conditions.latency,
        model_dir=model_dir,
        folder=project.paths.latency(key).folder,
    )
    with ended_on_error():
        delete_folder(task.folder)
        outcome = run_alone(task.as_task(), executor_here(config.train.trainer), progress)
    if outcome.state != "done":
        raise ExecutionError(
            f"the latency of trial {trial.record.number} can't be measured: {outcome.message} (log: {task.paths.log})"
        )
    return task.seconds()
