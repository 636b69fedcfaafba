"""Cross-validation of one configuration, kept as a trial of its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from infrastructure.errors import ConfigError, ExecutionError
from training.execution.mlflow_setup import ended_on_error
from training.hpo.execution.local.sweep import close_study, executor_of, folds_if_new, open_study
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import CvResult
from training.hpo.search_space import check_params
from training.hpo.tracking.study_runs import StudyRuns, study_lease


def cv(
    params: Mapping[str, JsonValue],
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    progress: Progress | None = None,
) -> CvResult:
    """Run all folds of one configuration as a trial of the project's study; return the trial and the study.

    A configuration that the study has finished is answered from its record. Raises ConfigError if `params` aren't a
    point of the search space, and ExecutionError if no trial of the study ever completed.
    """
    project = open_project(config_dir, overrides)
    if problems := check_params(project.config.hpo.search_space, params):
        raise ConfigError(problems)
    folds = folds_if_new(project)
    with ended_on_error(), study_lease(project.context.study_key_hash, project.run_name, project.paths.folder):
        runs = StudyRuns.open(project.context, project.run_name, project.paths.folder)
        with runs:
            driver = open_study(project, runs, progress or Progress(), folds)
            with executor_of(project, driver) as executor:
                record = driver.run_one(executor, params)
            result = close_study(project, driver, runs)
    if record.state != "complete":
        raise ExecutionError(f"trial {record.number} of {project.run_name} is {record.state}: {record.failure}")
    return CvResult(record, result)
