"""Studies in Optuna's own storages: written for the tools that read them, and read from where others began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from infrastructure.config.schema import HpoConfig
from infrastructure.errors import ConfigError, ExecutionError, one_line
from infrastructure.naming.keys import trial_key_hash
from infrastructure.redaction import redacted
from training.hpo.records import ONE_VALUE, TrialRecord
from training.hpo.search_space import check_params, with_constants
from training.hpo.study import frozen_trial

STUDY_KEY: Final = "assay:study_key_hash"
RECORD: Final = "assay:trial_record"
COMPLETE: Final = "assay:complete"
"""Written last: an export without it was cut short."""


@dataclass(frozen=True)
class StudyLabel:
    """A study's name in an Optuna storage, and its key."""

    name: str
    study_key_hash: str


def export_study(url: str, label: StudyLabel, config: HpoConfig, records: Sequence[TrialRecord]) -> None:
    """Write a study with all its trials to an Optuna storage such as `sqlite:///study.db`.

    The values of a trial's folds, in the order in which they came, are its intermediate values, and its whole record is
    a user attribute, so that nothing is lost on the way back. An export that was cut short is made again. Raises
    ExecutionError if the storage can't be used or has another study of this name.
    """
    with _storage_errors(url):
        _delete_torn_export(url, label)
        study = optuna.create_study(
            storage=url, study_name=label.name, directions=[o.direction for o in config.objectives]
        )
        study.set_user_attr(STUDY_KEY, label.study_key_hash)
        study.add_trials(_with_record(record, config, label.study_key_hash) for record in records)
        study.set_user_attr(COMPLETE, value=True)


def _delete_torn_export(url: str, label: StudyLabel) -> None:
    if label.name in optuna.get_all_study_names(url):
        attributes = optuna.load_study(study_name=label.name, storage=url).user_attrs
        if attributes.get(STUDY_KEY) == label.study_key_hash and not attributes.get(COMPLETE):
            optuna.delete_study(study_name=label.name, storage=url)


def _with_record(record: TrialRecord, config: HpoConfig, study_key_hash: str) -> FrozenTrial:
    trial = frozen_trial(record, config, study_key_hash, config.objectives)
    trial.set_user_attr(RECORD, redacted(record.model_dump_json()))
    return trial


def import_study(url: str, label: StudyLabel, config: HpoConfig) -> list[TrialRecord]:
    """Read the complete and pruned trials of a study in an Optuna storage, numbered as they are there.

    A study that Assay exported under the same key comes back as it was. Of any other one, and of what was added to an
    exported one, the trials are marked as imported, since nobody knows on which data and folds they were scored. Where
    the storage has several studies, the one of the same key is read, otherwise the one of `label.name`.

    Raises ExecutionError if the storage can't be used, and ConfigError, with every fault, if it isn't there, hasn't got
    the study, or for trials outside the search space or another direction.
    """
    if (file := _sqlite_file(url)) is not None and not file.is_file():
        raise ConfigError([f"--import: no Optuna storage at {url}: the file doesn't exist"])
    with _storage_errors(url):
        found = optuna.get_all_study_summaries(url, include_best_trial=False)
        own = [study.study_name for study in found if study.user_attrs.get(STUDY_KEY) == label.study_key_hash]
        names = own[:1] or [study.study_name for study in found]
        if label.name not in names and len(names) != 1:
            there = f"studies {', '.join(names)}; name one as hpo.study_name" if names else "no study"
            raise ConfigError([f"--import: the Optuna storage {_shown(url)} has {there}"])
        name = label.name if label.name in names else names[0]
        study = optuna.load_study(study_name=name, storage=url)
        directions = [direction.name.lower() for direction in study.directions]
        wanted = [objective.direction for objective in config.objectives]
        if directions != wanted:
            raise ConfigError(
                [f"--import: study {name!r} is to {', '.join(directions)}, this one to {', '.join(wanted)}"]
            )
        if own and not study.user_attrs.get(COMPLETE):
            raise ConfigError([f"--import: study {name!r} in {_shown(url)} was exported in part; export it again"])
        trials = study.get_trials(deepcopy=False)
    exported = [trial for trial in trials if own and RECORD in trial.user_attrs]
    others = [trial for trial in trials if trial not in exported]
    return [
        *(TrialRecord.model_validate_json(trial.user_attrs[RECORD]) for trial in exported),
        *_foreign_records(others, StudyLabel(name, label.study_key_hash), config),
    ]


def _sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite address, or None for another kind and for what is no address."""
    try:
        address = make_url(url)
    except (SQLAlchemyError, ValueError):
        return None
    return Path(address.database) if address.drivername.startswith("sqlite") and address.database else None


def _foreign_records(trials: Sequence[FrozenTrial], label: StudyLabel, config: HpoConfig) -> list[TrialRecord]:
    records: list[TrialRecord] = []
    problems: list[str] = []
    if trials and config.further_objectives:
        raise ConfigError([f"--import: {ONE_VALUE}"])
    for trial in trials:
        is_complete = trial.state is OptunaState.COMPLETE
        if trial.state is not OptunaState.PRUNED and not (is_complete and isfinite(trial.value or 0.0)):
            continue
        params = with_constants(config.search_space, trial.params)
        problems += [
            f"--import: trial {trial.number} of {label.name!r}: {p}" for p in check_params(config.search_space, params)
        ]
        records.append(
            TrialRecord(
                number=trial.number,
                trial_key_hash=trial_key_hash(label.study_key_hash, params),
                params=params,
                state="complete" if is_complete else "pruned",
                value=trial.value if is_complete else None,
                imported_from=f"{label.name}/{trial.number}",
            )
        )
    if problems:
        raise ConfigError(problems)
    return records


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Turn what Optuna and its database raise into one line without the storage's password."""
    try:
        yield
    except DuplicatedStudyError as error:
        raise ExecutionError(
            f"{_shown(url)} has the study already: {one_line(error)}; export to another storage"
        ) from error
    except (OptunaError, SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        reason = one_line(error).replace(url, _shown(url))
        raise ExecutionError(f"the Optuna storage {_shown(url)} can't be used: {reason}") from error


def _shown(url: str) -> str:
    try:
        make_url(url)
    except (SQLAlchemyError, ValueError):
        return "of an unreadable address"  # which may hold a password anywhere
    return redacted(url)
