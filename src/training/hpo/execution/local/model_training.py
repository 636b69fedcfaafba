"""One training on all the data, from its task to its registered model: what refit and final training share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

from infrastructure.errors import ExecutionError
from infrastructure.storage.own_files import delete_folder
from training.execution.mlflow_setup import ended_on_error
from training.execution.result import TrainingResult, read_result
from training.execution.task import TrainingTask
from training.hpo.execution.choosing import stored_choice
from training.hpo.execution.local.workers import make_executor, train_alone
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import Project
from training.hpo.execution.results import ModelResult
from training.hpo.tracking.model_runs import ModelRun, ModelRuns, Protocol
from training.hpo.tracking.study_runs import TrialRun, find_study_run, stored_trials, study_lease


def study_trials(project: Project) -> tuple[str, dict[int, TrialRun]]:
    """Return the study's run id and its trials by number. Raises ExecutionError if the store has no such study."""
    study = find_study_run(project.context.study_key_hash)
    if study is None:
        raise ExecutionError(
            f"no study {project.run_name} of this configuration and data in the tracking store: run `assay sweep` first"
        )
    return study.run_id, stored_trials(study.run_id, project.context.study_key_hash)


def chosen_trial(project: Project, number: int | None) -> tuple[str, TrialRun]:
    """Return the study's run id and the trial of this number, by default the one that the project's selection chooses.

    Raises ExecutionError if the tracking store has no such study or trial, or if no trial can be chosen yet.
    """
    study_run_id, trials = study_trials(project)
    if number is None:
        choice = stored_choice(project, [trial.record for trial in trials.values()])
        if choice.chosen is None:
            raise ExecutionError(f"{project.run_name}: {choice.reason}")
        number = choice.chosen.number
    if number not in trials or trials[number].record.state != "complete":
        complete = sorted(n for n, trial in trials.items() if trial.record.state == "complete")
        raise ExecutionError(f"trial {number} of {project.run_name} is not complete; complete ones: {complete}")
    return study_run_id, trials[number]


def stage_lease(project: Project, protocol: Protocol) -> AbstractContextManager[None]:
    """Own this stage of the study while the context lasts. Raises StudyHeldError if another process does."""
    return study_lease(project.context.study_key_hash, project.run_name, project.paths.folder, protocol.stage)


def train_model(
    project: Project, number: int | None, protocol: Protocol, progress: Progress, *, force: bool, register: bool
) -> ModelResult:
    """Train a trial's configuration under a protocol and keep its model, unless the store has it already.

    With `force` it is trained in any case, as a new variant beside what the store has. With `register` it becomes
    the champion. Whoever calls it owns this stage of the study.
    """
    study_run_id, trial = chosen_trial(project, number)
    model_runs = ModelRuns(project.context, project.config.train, protocol, study_run_id)
    task = _task(project, trial, protocol)
    with ended_on_error():
        run = model_runs.find(trial)
        if run is None or force:
            variant = 1 if run is None else run.variant + 1
            if force:  # before the run is there: whoever takes it up has to train
                delete_folder(task.folder)
            run = model_runs.begin(trial, variant)
        elif not run.is_done:
            model_runs.resume(run)
        state = "the tracking store has it already" if run.is_done else "training"
        progress.training_started(f"{run.name} with trial {trial.record.number}: {state}")
        if not run.is_done:
            result = _train(project, task, model_runs, run, progress)
            model_runs.complete(run, result, task.params, task.paths)
    version = model_runs.register(run, trial, project.model_name) if register else ""
    if register and not version:
        progress.message(f"{run.name}: not registered, since it was trained without a predict function and data to try")
    return ModelResult(
        run_id=run.run_id,
        run_name=run.name,
        trial_number=trial.record.number,
        model_uri=f"models:/{project.model_name}/{version}" if version else f"runs:/{run.run_id}/model",
        model_name=project.model_name,
        version=version,
        test=model_runs.test_metrics(run),
        reused=run.is_done,
    )


def _task(project: Project, trial: TrialRun, protocol: Protocol) -> TrainingTask:
    config = project.config
    key = protocol.key_hash(trial.record.trial_key_hash)
    paths = project.paths.refit(key) if protocol.stage == "hpo_refit" else project.paths.final(key)
    return TrainingTask(
        task_id=protocol.stage,
        key_hash=key,
        root_dir=config.root_dir,
        folder=paths.folder,
        data=config.data,
        train=config.train,
        objective=config.hpo.objective,
        params={**trial.record.params, **protocol.params},
        folds_file=project.paths.folds,
        include_validation=protocol.include_validation,
    )


def _train(
    project: Project, task: TrainingTask, model_runs: ModelRuns, run: ModelRun, progress: Progress
) -> TrainingResult:
    """Run the task in a process of its own; a result that lies on disk from before is taken as it is."""
    found = read_result(task.paths.result, task.key_hash)
    if found is None or not task.paths.model.is_dir():
        found, reason = train_alone(task, partial(make_executor, project, 1), progress)
        if found is None:
            model_runs.fail(run, reason, "FAILED")
            raise ExecutionError(f"{run.name} failed: {reason} (log: {task.paths.log})")
    delete_folder(task.paths.checkpoints)  # what is done is gone on with no more
    return found
