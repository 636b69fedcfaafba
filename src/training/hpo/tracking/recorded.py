"""Trainings as the tracking store has them: what to do to do them again, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from infrastructure.config.loading import DATA, HPO, TRAIN, load_section
from infrastructure.config.schema import DataConfig, HpoConfig, TrainConfig
from infrastructure.errors import ConfigError, ExecutionError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.redaction import REDACTED, without_credentials
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
PROTOCOL = "protocol"
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


def recorded_training(reference: str, config_dir: Path | None = None) -> RecordedTraining:
    """Return a trial, fold, refit or final training with all that it takes to do it again.

    `reference` is the id or name of a run. Credentials, which no run keeps, come from the configuration in
    `config_dir`. Raises RunNotFoundError if there is no such run or it lacks something, and ExecutionError if there is
    nothing in it to be done again or a credential is missing.
    """
    run = find_run(reference)
    if run.tags.get(tags.STAGE) == tags.STAGE_SWEEP:
        raise ExecutionError(f"{run.name} is a study; name one of its trials, folds, refits or final trainings")
    trial, study = trial_of(run), study_of(run)
    differing = protocol(run) or {}
    configs = _with_credentials({**_configs(run, trial, study), PROTOCOL: differing.get("params", {})}, config_dir)
    changed = configs[PROTOCOL]
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


def _with_credentials(recorded: dict[str, JsonValue], config_dir: Path | None) -> dict[str, JsonValue]:
    """Return recorded configurations with their credentials, as the project's present one has them.

    Raises ExecutionError if it hasn't got one.
    """
    if config_dir is None or REDACTED not in json.dumps(recorded):
        return recorded
    present = _present_configs(config_dir)
    restored = _restored(recorded, present, without_credentials(present))
    if missing := list(_missing(restored, present)):
        field = missing[0].replace(".", ".yaml ", 1).replace(f"{PROTOCOL}.yaml ", "train.yaml final.params.")
        raise ExecutionError(
            f"{field} is a credential, which no run keeps, and {config_dir} hasn't got it either; add it there"
        )
    assert isinstance(restored, dict)
    return restored


def _present_configs(config_dir: Path) -> dict[str, JsonValue]:
    """Return the sections of a config folder that can be read."""
    found: dict[str, JsonValue] = {}
    with suppress(ConfigError):
        found[DATA.name] = load_section(DATA, config_dir).model_dump(mode="json")
    with suppress(ConfigError):
        found[HPO.name] = load_section(HPO, config_dir).model_dump(mode="json")
    with suppress(ConfigError):
        train = load_section(TRAIN, config_dir).model_dump(mode="json")
        found |= {TRAIN.name: train, PROTOCOL: train["final"]["params"]}
    return found


def _restored(recorded: JsonValue, present: JsonValue, clean: JsonValue) -> JsonValue:
    """Return a recorded value with the credentials of the present one; `clean` is the present one without them."""
    if isinstance(recorded, dict) and isinstance(present, dict) and isinstance(clean, dict):
        return {name: _restored(value, present.get(name), clean.get(name)) for name, value in recorded.items()}
    return present if _has_gap(recorded) and recorded == clean else recorded


def _has_gap(value: JsonValue) -> bool:
    return REDACTED in json.dumps(value)


def _missing(restored: JsonValue, present: JsonValue, path: str = "") -> Iterator[str]:
    """Yield the fields that hold no credential where there was one."""
    if isinstance(restored, dict):
        for name, value in restored.items():
            inner = present.get(name) if isinstance(present, dict) else None
            yield from _missing(value, inner, f"{path}.{name}" if path else name)
    elif _has_gap(restored) and restored != present:
        yield path


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
