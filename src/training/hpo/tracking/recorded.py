"""Trainings as the tracking store has them: what to do to do them again, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from infrastructure.config.loading import DATA, HPO, TRAIN
from infrastructure.config.schema import DataConfig, HpoConfig, TrainConfig
from infrastructure.errors import ExecutionError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.tracking.environments import environment_of
from training.hpo.tracking.references import (
    MODEL_STAGES,
    find_run,
    fold_record,
    key_document,
    protocol,
    recorded_configs,
    study_of,
    trial_of,
    trial_record,
)

FOLDS_FILE = "folds.json"
WHOLE = -1
"""Stands in place of a fold's index for a training on all training rows."""


@dataclass(frozen=True)
class RecordedTraining:
    """One or several trainings of one configuration.

    `metrics` are those of each fold by its index, or under `WHOLE` those of a refit or final training, named
    `valid_…` and `test_…`. `folds` is the study's folds file, `document` its key document, `environment` what the run
    was executed with.
    """

    name: str
    backbone: str
    data: DataConfig
    hpo: HpoConfig
    train: TrainConfig
    params: Mapping[str, JsonValue]
    include_validation: bool
    metrics: Mapping[int, Mapping[str, float]]
    folds: str
    document: Mapping[str, JsonValue]
    environment: Mapping[str, JsonValue]


def recorded_training(reference: str) -> RecordedTraining:
    """Return a trial, fold, refit or final training with all that it takes to do it again.

    `reference` is the id or name of a run. Raises RunNotFoundError if there is none or it lacks something, and
    ExecutionError if there is nothing in it to be done again.
    """
    run = find_run(reference)
    if run.tags.get(tags.STAGE) == tags.STAGE_SWEEP:
        raise ExecutionError(f"{run.name} is a study; name one of its trials, folds, refits or final trainings")
    trial, study = trial_of(run), study_of(run)
    configs = _configs(run, trial, study)
    differing = protocol(run) or {}
    changed = differing.get("params", {})
    assert isinstance(changed, dict)
    metrics = _metrics(run, trial)
    if not any(metrics.values()):
        raise ExecutionError(
            f"{run.name} has no result to compare with: no training of it ended by itself with a metric"
        )
    return RecordedTraining(
        name=run.name,
        backbone=study.tags.get(tags.BACKBONE, ""),
        data=DATA.adapter.validate_python(configs[DATA.name]),
        hpo=HPO.adapter.validate_python(configs[HPO.name]),
        train=TRAIN.adapter.validate_python(configs[TRAIN.name]),
        params={**trial_record(trial).params, **changed},
        include_validation=bool(differing.get("include_validation")),
        metrics=metrics,
        folds=runs.read_text(study.run_id, FOLDS_FILE) or "[]",
        document=key_document(study),
        environment=environment_of(run.tags, study.run_id),
    )


def _configs(run: RunRecord, trial: RunRecord, study: RunRecord) -> dict[str, JsonValue]:
    configs = recorded_configs(run, trial, study)
    if missing := [name for name in (DATA.name, HPO.name, TRAIN.name) if name not in configs]:
        raise RunNotFoundError(f"the study of {run.name} keeps no configuration ({', '.join(missing)})")
    return configs


def _metrics(run: RunRecord, trial: RunRecord) -> dict[int, dict[str, float]]:
    if run.tags.get(tags.STAGE) in MODEL_STAGES:
        if not run.is_done:
            return {}
        found = {name: value for name, value in run.metrics.items() if name.startswith(("valid_", "test_"))}
        return {WHOLE: found}
    if run.tags.get(tags.STAGE) == tags.STAGE_FOLD:
        record = fold_record(run) if run.is_done else None
        folds = {int(run.tags[tags.FOLD_INDEX]): record} if record is not None else {}
    else:
        folds = trial_record(trial).folds
    return {
        index: {f"valid_{name}": value for name, value in fold.metrics.items()}
        for index, fold in sorted(folds.items())
        if fold.metrics
    }
