"""Studies given to Optuna's own storages, and taken from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infrastructure.errors import ExecutionError
from training.hpo.execution.project import Project, open_project
from training.hpo.optuna_storage import StudyLabel, export_study, import_study
from training.hpo.records import TrialRecord
from training.hpo.tracking.study_runs import find_study_run, whole_trials


def write_optuna_study(
    url: str, config_dir: str | Path | None = None, overrides: Sequence[str] = ()
) -> tuple[str, int]:
    """Write the project's study to an Optuna storage; return its name there and the number of its trials.

    Raises ExecutionError if the study isn't begun or the storage can't be used.
    """
    project = open_project(config_dir, overrides)
    key = project.context.study_key_hash
    study = find_study_run(key)
    if study is None:
        raise ExecutionError(f"no study {project.run_name} in the tracking store: run `assay sweep` first")
    records = [trial.record for trial in whole_trials(study.run_id, key)]
    export_study(url, StudyLabel(project.run_name, key), project.config.hpo, records)
    return project.run_name, len(records)


def read_optuna_study(project: Project, url: str) -> list[TrialRecord]:
    """Return the trials of a study in an Optuna storage as trials of the project's study.

    It is the storage's only study, or the one of the name that `hpo.study_name` is.
    """
    label = StudyLabel(project.config.hpo.study_name, project.context.study_key_hash)
    return import_study(url, label, project.config.hpo)
