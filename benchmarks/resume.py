"""How long a study of 1,000 trials takes to go on: load, rebuild the sampler, first proposal.

The peer is Optuna with its own SQLite storage: the same trials, the same sampler, the same proposal. It keeps
parameters and values; Assay reads folds, curves and hyperparameters of every trial from MLflow's runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import optuna

from common import alternate, show, write_project, write_results
from training.execution.result import TrainingResult
from training.hpo.execution.local.sweep import study_folds
from training.hpo.execution.project import Project, open_project
from training.hpo.optuna_storage import StudyLabel, export_study
from training.hpo.records import FoldRecord, TrialRecord
from training.hpo.samplers import make_sampler
from training.hpo.search_space import suggest
from training.hpo.study import OptunaStudy
from training.hpo.tracking.study_runs import StudyRuns

FOLDS, EPOCHS = 2, 3


def loss(record: TrialRecord, fold_idx: int) -> float:
    """Return an objective for a trial that nobody trains."""
    return (float(str(record.params["x"])) - 0.3) ** 2 + float(str(record.params["rate"])) + 0.001 * fold_idx


def fill(project: Project, trials: int) -> list[TrialRecord]:
    """Write a study of so many trials to the tracking store by the calls that a sweep makes, without training."""
    study = OptunaStudy(project.config.hpo, project.context.study_key_hash, FOLDS)
    with StudyRuns.open(project.context, project.run_name, project.paths.folder) as runs:
        return [fill_trial(study, runs) for _ in range(trials)]


def fill_trial(study: OptunaStudy, runs: StudyRuns) -> TrialRecord:
    """Write one trial."""
    asked = study.ask()
    assert asked is not None
    trial = runs.begin_trial(asked)
    folds: dict[int, FoldRecord] = {}
    for fold_idx in range(FOLDS):
        value = loss(asked, fold_idx)
        curve = {step: value + 1 / step for step in range(1, EPOCHS + 1)}
        folds[fold_idx] = FoldRecord(metrics={"loss": value}, curve=curve)
        runs.begin_fold(trial, fold_idx, "0" * 64)
        reported = {step: {"loss": at_step} for step, at_step in curve.items()}
        result = TrainingResult(key_hash="", valid={"loss": value}, curve=reported)
        runs.complete_fold(trial, fold_idx, result, folds[fold_idx])
        study.should_stop_trial(asked.number, fold_idx, value)
    ended = {"state": "complete", "value": study.mean_value(folds), "folds": folds}
    trial.record = study.tell(asked.model_copy(update=ended))
    runs.complete_trial(trial)
    return trial.record


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        config_dir = write_project(Path(folder, "project"), arguments.trials + 1)
        project = open_project(config_dir)
        records = fill(project, arguments.trials)
        url = f"sqlite:///{folder}/optuna.db"
        label = StudyLabel("peer", project.context.study_key_hash)
        export_study(url, label, project.config.hpo, records)

        def assay() -> TrialRecord | None:
            opened = open_project(config_dir)
            with StudyRuns.open(opened.context, opened.run_name, opened.paths.folder) as runs:
                study = OptunaStudy(opened.config.hpo, opened.context.study_key_hash, study_folds(opened, runs))
                study.restore(trial.record for trial in runs.trial_runs())
            assert study.next_number == arguments.trials
            return study.ask()

        def peer() -> object:
            sampler = make_sampler(project.config.hpo, arguments.trials)
            study = optuna.load_study(study_name=label.name, storage=url, sampler=sampler)
            return suggest(study.ask(), project.config.hpo.search_space)

        timings = alternate(arguments.repetitions, optuna_with_its_own_storage=peer, assay_from_mlflow=assay)
        title = f"{arguments.trials} trials × {FOLDS} folds: load, rebuild, first proposal, on SQLite"
        show(title, timings)
        write_results("resume", {title: timings}, [])


if __name__ == "__main__":
    main()
