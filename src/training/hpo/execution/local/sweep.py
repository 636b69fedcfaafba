"""A sweep: trials of a study, each cross-validated, until there are `max_trials` or time is up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infrastructure.errors import ConfigError, DataError, ExecutionError
from infrastructure.executors.base import Executor
from infrastructure.storage.own_files import delete_folder
from training.data.datasets import load_dataset
from training.data.folds import Fold, make_folds, read_folds, write_folds
from training.execution.mlflow_setup import ended_on_error
from training.hpo.execution.explain import changed_environment_note, new_study_note, other_meaning_note
from training.hpo.execution.local.driver import Limits, StudyDriver
from training.hpo.execution.local.workers import make_executor
from training.hpo.execution.optuna_exchange import read_optuna_study
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import Project, open_project
from training.hpo.execution.results import StudyResult
from training.hpo.records import ONE_VALUE, TrialRecord
from training.hpo.tracking.earlier_studies import earlier_trials
from training.hpo.tracking.explain import nearest_study
from training.hpo.tracking.foreign_runs import foreign_trials
from training.hpo.tracking.study_runs import StudyRuns, find_study_run, study_lease

FROM_MLFLOW: Final = "mlflow:"
FROM_STUDY: Final = "study:"


def sweep(
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    force: bool = False,
    import_from: str | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Run the project's study up to `hpo.max_trials` trials, going on where its runs in the tracking store end.

    With `force` it is started over as a new variant, and the old one is kept. `import_from` is the URL of an Optuna
    storage whose study is taken in first, `mlflow:` and the name of an experiment of the tracking store, whose runs
    are, or `study:` and a study of it, its run's id or name or the beginning of its key: the trials inform the sampler,
    and don't count as trials of this study.
    Raises ConfigError for faulty configurations before any run exists, and ExecutionError if no trial completed.
    """
    project = open_project(config_dir, overrides, force=force)
    show = progress or Progress()
    timeout = project.config.hpo.timeout
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    imported = None if import_from is None else read_trials(project, import_from, show)
    folds = folds_if_new(project)
    with ended_on_error(), study_lease(project.context.study_key_hash, project.run_name, project.paths.folder):
        if force:  # what lies in the folder of a variant that is yet to come is of a store that was lost
            delete_folder(project.paths.folder)
        runs = StudyRuns.open(project.context, project.run_name, project.paths.folder)
        with runs:
            driver = open_study(project, runs, show, folds)
            if imported is not None:
                show.message(f"{driver.take_in(imported)} new trials taken in")
            with executor_of(project, driver) as executor:
                driver.run(executor, Limits(project.config.hpo.max_trials, deadline))
            result = close_study(project, driver, runs)
    return result


def import_trials(
    source: str,
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    progress: Progress | None = None,
) -> int:
    """Take trials into the project's study as `sweep` does, run none, and return how many were new."""
    project = open_project(config_dir, overrides)
    show = progress or Progress()
    imported = read_trials(project, source, show)
    folds = folds_if_new(project)
    with (
        ended_on_error(),
        study_lease(project.context.study_key_hash, project.run_name, project.paths.folder),
        StudyRuns.open(project.context, project.run_name, project.paths.folder) as runs,
    ):
        driver = open_study(project, runs, show, folds)
        count = driver.take_in(imported)
        runs.complete_study(driver.best, len(driver.records), is_done=False)
    return count


def read_trials(project: Project, source: str, progress: Progress) -> list[TrialRecord]:
    """Return trials from elsewhere: an Optuna storage's, with `mlflow:` an experiment's, with `study:` a study's."""
    if source.startswith((FROM_STUDY, FROM_MLFLOW)) and project.config.hpo.further_objectives:
        raise ConfigError([f"{source}: {ONE_VALUE}"])
    if source.startswith(FROM_STUDY):
        return _read_study(project, source.removeprefix(FROM_STUDY), progress)
    if not source.startswith(FROM_MLFLOW):
        return read_optuna_study(project, source)
    experiment = source.removeprefix(FROM_MLFLOW)
    records, refused = foreign_trials(experiment, project.context.study_key_hash, project.config.hpo)
    if refused:
        progress.message(f"{len(refused)} runs of {experiment} are not taken; the first: {refused[0]}")
    return records


def _read_study(project: Project, reference: str, progress: Progress) -> list[TrialRecord]:
    """Return the trials of another study of the tracking store, and tell what isn't taken and what is different."""
    earlier = earlier_trials(reference, project.context.identity, project.config.hpo)
    if earlier.refused:
        count, first = len(earlier.refused), earlier.refused[0]
        progress.message(f"{count} trials of {earlier.study_name} are not taken; the first: {first}")
    if earlier.differing:
        progress.message(other_meaning_note(earlier.study_name, earlier.differing))
    return earlier.records


def folds_if_new(project: Project) -> tuple[Fold, ...] | None:
    """Return the folds of a study that the store hasn't got yet, so that faulty data is told before any run exists.

    Raises DataError.
    """
    config = project.config
    if project.context.should_resume and find_study_run(project.context.study_key_hash) is not None:
        return None
    return make_folds(config.hpo.cv, load_dataset(config.data, config.root_dir), config.data, config.root_dir)


def open_study(
    project: Project, runs: StudyRuns, progress: Progress, folds: Sequence[Fold] | None = None
) -> StudyDriver:
    """Return the study's driver, with the trials that the study has, and its folds: those given are of a new study."""
    if runs.is_new and (nearest := nearest_study(project.context, runs.run_id)) and nearest.differences:
        progress.message(new_study_note(nearest))
    if runs.changed_environment:
        progress.message(changed_environment_note(runs.changed_environment))
    fold_count = study_folds(project, runs, folds)
    driver = StudyDriver(project, runs, fold_count, progress)
    driver.restore()
    done = [record for record in driver.records.values() if record.state != "running"]
    progress.study_opened(project.run_name, done, project.config.hpo.max_trials, fold_count)
    return driver


def executor_of(project: Project, driver: StudyDriver) -> Executor:
    """Return the executor for the study's folds, whose reports the driver answers."""
    return make_executor(project, project.config.hpo.workers, driver.should_stop, driver.note_retry)


def study_folds(project: Project, runs: StudyRuns, made: Sequence[Fold] | None = None) -> int:
    """See that the study's folds lie where the workers look for them, and return how many there are.

    The folds are made once; a resumed study takes those that its run keeps, wherever it goes on.
    """
    path = project.paths.folds
    if not (runs.fetch_folds(path) and _is_whole(path)):
        config = project.config
        if made is None:
            made = make_folds(config.hpo.cv, load_dataset(config.data, config.root_dir), config.data, config.root_dir)
        write_folds(path, made)
        runs.keep_folds(path)
    return len(read_folds(path))


def _is_whole(folds_file: Path) -> bool:
    """Tell whether folds can be read; what a kill cut short while it was kept is made again, and is the same."""
    try:
        read_folds(folds_file)
    except DataError:
        return False
    return True


def close_study(project: Project, driver: StudyDriver, runs: StudyRuns) -> StudyResult:
    """Write what the study came to, and return it. Raises ExecutionError if no trial completed."""
    is_done = all(record.state != "running" for record in driver.records.values())
    runs.complete_study(driver.best, len(driver.records), is_done=is_done)
    if driver.best is None:
        reasons = [record.failure for record in driver.records.values() if record.failure]
        raise ExecutionError(f"no trial of {project.run_name} completed; the first one: {(reasons or ['none ran'])[0]}")
    records = tuple(driver.records[number] for number in sorted(driver.records))
    return StudyResult(
        name=project.run_name,
        study_key_hash=project.context.study_key_hash,
        run_id=runs.run_id,
        objectives=project.config.hpo.objectives,
        trials=records,
        best=driver.best,
    )
