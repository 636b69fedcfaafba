"""What the store and the folders of a project hold, in terms that are the same for every copy of a study."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from blake3 import blake3
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict

from infrastructure.config.schema.hpo import Objective
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.models import CHAMPION, MODEL_FILE
from infrastructure.tracking.mlflow.operations import Operation
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.records import TrialRecord, best_record
from training.hpo.tracking.study_runs import find_study_run, stored_trials

VARYING: Final = (tags.WRITER, tags.TRIAL_RECORD, tags.FOLD_RECORD)
"""Tags that differ from one copy of a study to the next: what a run is called, and how long its folds took."""
LOCAL: Final = "file://"
UNTIDY: Final = (".tmp", ".new", "-journal", "-wal", ".position", ".owner")


class SeenRun(BaseModel):
    """A run: `identity` is what it is of, `artifacts` the digests of its files by name.

    `histories` are the steps and values of each metric in the order of their times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    name: str
    status: str
    is_done: bool
    params: dict[str, str]
    histories: dict[str, list[str]]
    tags: dict[str, str]
    artifacts: dict[str, str]


class Observation(BaseModel):
    """What there is of a study: in the store, in the files beside it, and in the calls that its function noted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: list[str]
    trials: list[TrialRecord]
    best: int | None
    runs: list[SeenRun]
    versions: list[str]
    files: list[str]
    calls: list[str]

    def of_any_store(self) -> Observation:
        """Return it without the files of a local store, which others haven't got."""
        return self.model_copy(update={"files": [file for file in self.files if file.startswith("outputs/")]})


def observe(config_dir: Path) -> Observation:
    """Look at a project's store, through MLflow and, if it is a local one, through SQLite, and at its files."""
    root = config_dir.parent
    setup_mlflow(config_dir=config_dir)
    runs = queries.search("")
    by_id = {run.run_id: run for run in runs}
    names = {str(root): "project", **{run.run_id: _identity(run, by_id) for run in runs}}
    trials = _trials(runs)
    best = best_record(trials, [Objective(metric="loss", direction="minimize")])
    return Observation(
        faults=_faults(root / "mlflow.db"),
        trials=trials,
        best=None if best is None else best.number,
        runs=sorted((_seen(run, names) for run in runs), key=lambda run: run.identity),
        versions=list(_versions(names)),
        files=sorted(_called(str(path.relative_to(root)), names) for path in _files(root)),
        calls=noted_calls(config_dir),
    )


def noted_calls(config_dir: Path) -> list[str]:
    """Return the trainings that were begun, as the project's function noted them."""
    log = config_dir.parent / "calls.jsonl"
    return log.read_text().splitlines() if log.exists() else []


def _identity(run: queries.RunRecord, by_id: dict[str, queries.RunRecord]) -> str:
    keys = (tags.STAGE, tags.VARIANT, tags.TRIAL_NUMBER, tags.FOLD_INDEX, tags.REFIT_KEY)
    shown = " ".join(run.tags[key][:12] for key in keys if key in run.tags)
    study = run
    while (parent := by_id.get(study.tags.get(tags.PARENT_RUN, ""))) is not None:
        study = parent
    return f"{shown} of {run.tags.get(tags.STUDY_KEY, '')[:8]}-{study.tags.get(tags.VARIANT, '')}"


def _called(text: str, names: dict[str, str]) -> str:
    """Replace the ids of runs by what they are of, and the project's folder too."""
    for found, name in names.items():
        text = text.replace(found, f"<{name}>")
    return text


def _seen(run: queries.RunRecord, names: dict[str, str]) -> SeenRun:
    own = {
        key: _called(value, names)
        for key, value in run.tags.items()
        if (key.startswith("code.") or key == tags.PARENT_RUN) and not key.startswith(VARYING)
    }
    with _kept(run) as kept:
        files = [path for path in sorted(kept.rglob("*")) if path.is_file()]
        artifacts = {str(path.relative_to(kept)): _digest(path) for path in files}
    return SeenRun(
        identity=names[run.run_id],
        name=run.name,
        status=run.status,
        is_done=run.is_done,
        params=run.params,
        histories={name: _history(run.run_id, name) for name in run.metrics if name != "seconds"},
        tags=own,
        artifacts=artifacts,
    )


def _history(run_id: str, metric: str) -> list[str]:
    points = current_session().client.get_metric_history(run_id, metric)
    return [f"{p.step}: {p.value!r}" for p in sorted(points, key=lambda point: (point.timestamp, point.step))]


@contextmanager
def _kept(run: queries.RunRecord) -> Iterator[Path]:
    """Yield the folder of what a run keeps; a copy if it is in a server."""
    if run.artifact_uri.startswith(LOCAL):
        yield Path(run.artifact_uri.removeprefix(LOCAL))
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(current_session().client.download_artifacts(run.run_id, "", folder))


def _digest(path: Path) -> str:
    if path.suffix == ".log":  # names the project's folder
        return "kept"
    if path.name == MODEL_FILE:  # says when it was packed
        return "whole" if "model_uuid" in path.read_text() else "cut"
    return blake3(path.read_bytes()).hexdigest()[:16]


def _trials(runs: list[queries.RunRecord]) -> list[TrialRecord]:
    """Return the trials that a driver would find, but for how long and in which order their folds were done."""
    key = next((run.tags[tags.STUDY_KEY] for run in runs if run.tags.get(tags.STAGE) == tags.STAGE_SWEEP), "")
    study = find_study_run(key) if key else None
    trials = stored_trials(study.run_id, key) if study is not None else {}
    return [_untimed(trials[number].record) for number in sorted(trials)]


def _untimed(trial: TrialRecord) -> TrialRecord:
    folds = {index: fold.model_copy(update={"seconds": 0.0}) for index, fold in sorted(trial.folds.items())}
    return trial.model_copy(update={"folds": folds, "failure": trial.failure.partition(" (log: ")[0]})


def _versions(names: dict[str, str]) -> Iterator[str]:
    """Yield each registered version, the run that it is of, and its aliases."""
    client = current_session().client
    for model in client.search_registered_models():
        yield f"model {model.name}"
        for version in client.search_model_versions(f"name = '{model.name}'"):
            run = names.get(version.run_id, "a run that is gone")
            yield f"{model.name} {version.version} of {run} in {_called(version.source, names).rpartition('/')[2]}"
        with suppress(MlflowException):  # none is
            champion = client.get_model_version_by_alias(model.name, CHAMPION)
            yield f"{model.name} {champion.version} is the champion"


def _faults(store: Path) -> list[str]:
    if not store.exists():
        return []
    with closing(sqlite3.connect(store)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [f"broken reference {row}" for row in connection.execute("PRAGMA foreign_key_check")]


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of a project; of its cache, which may be there or not, those alone that nobody will delete.

    The system's folder for temporary files isn't looked at: MLflow leaves there what a kill cut short.
    """
    for path in root.rglob("*"):
        if root / "tmp" in path.parents or (root / "cache" in path.parents and not path.name.endswith(UNTIDY)):
            continue
        yield path


def acknowledged(config_dir: Path) -> set[str]:
    """Return which folds and trainings are done, by the store or by what lies on disk, as `trial fold` or `refit`.

    Read without Assay's own help, right after a kill.
    """
    root = config_dir.parent
    done = {_of_result(path) for path in (root / "outputs").rglob("result.json") if _is_json(path.read_bytes())}
    for journal in (root / "outputs").rglob("outbox-*.jsonl"):
        for line in journal.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                done |= _of_trial(Operation.model_validate_json(line).tags)
    return done | _in_store(root / "mlflow.db")


def _of_result(path: Path) -> str:
    if path.parent.name.startswith("refit-"):
        return "refit"
    return f"{int(path.parts[-3].removeprefix('trial-'))} {path.parent.name.removeprefix('fold-')}"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _of_trial(run_tags: dict[str, str]) -> set[str]:
    """Return all folds of a trial that has ended: none of them is trained again."""
    text = tags.join_long(tags.TRIAL_RECORD, run_tags)
    if text is None or (record := TrialRecord.model_validate_json(text)).state == "running":
        return set()
    return {f"{record.number} {fold_idx}" for fold_idx in range(10)}


def _in_store(store: Path) -> set[str]:
    done: set[str] = set()
    if not store.exists():
        return done
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT run_uuid, key, value FROM tags").fetchall()
    by_run: dict[str, dict[str, str]] = {}
    for run_id, key, value in rows:
        by_run.setdefault(run_id, {})[key] = value
    for own in by_run.values():
        if own.get(tags.DONE) != "true":
            continue
        done |= _of_trial(own)
        if own.get(tags.STAGE) == tags.STAGE_FOLD:
            done.add(f"{own[tags.TRIAL_NUMBER]} {own[tags.FOLD_INDEX]}")
        elif own.get(tags.STAGE) == tags.STAGE_REFIT:
            done.add("refit")
    return done
