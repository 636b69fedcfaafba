"""How the cost of finding a study by its key grows with the store, against what the store's index allows.

MLflow's tags have an index on (key, run), none on (key, value). Side by side, at each size: Assay's own call; the same
question as raw SQL on the store as it is; and the same on a copy with an index on (key, value), which is the limit.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from common import Timing, alternate, show, write_project, write_results
from infrastructure.naming import tags
from infrastructure.tracking.mlflow.session import current_session
from training.hpo.execution.project import open_project
from training.hpo.tracking.study_runs import find_study_run, stored_trials

TRIALS, FOLDS = 50, 2
SAME_QUESTION = """
    SELECT runs.run_uuid FROM runs
    JOIN tags AS by_key ON by_key.run_uuid = runs.run_uuid AND by_key."key" = ? AND by_key.value = ?
    JOIN tags AS by_stage ON by_stage.run_uuid = runs.run_uuid AND by_stage."key" = ? AND by_stage.value = ?
    WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time
"""


INSERT_RUN = """
    INSERT INTO runs
    (run_uuid, name, user_id, source_type, status, start_time, lifecycle_stage, artifact_uri, experiment_id)
    VALUES (?, ?, 'someone', 'UNKNOWN', ?, ?, ?, ?, ?)
"""


def digest(text: str) -> str:
    """Return a key hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def study_rows(number: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the id and the tags of every run of a study: its own, its trials' and their folds'."""
    key = digest(f"study {number}")
    common = {
        tags.STUDY_KEY: key,
        tags.STUDY_FAMILY: digest(f"family {number}"),
        tags.STUDY_KEY_SCHEMA: "2",
        tags.DATA_FINGERPRINT: digest(f"data {number}"),
        tags.EVAL_FINGERPRINT: digest(f"eval {number}"),
        tags.EXEC_FINGERPRINT: digest("environment"),
        tags.BACKBONE: "some/backbone",
        tags.PROJECT: "benchmark",
        tags.DONE: "true",
    }
    study_id = uuid.uuid4().hex
    yield study_id, {**common, tags.STAGE: tags.STAGE_SWEEP, tags.STUDY_KEY_DOCUMENT: "{}" + " " * 2000}
    for trial in range(TRIALS):
        trial_id = uuid.uuid4().hex
        of_trial = {**common, tags.TRIAL_KEY: digest(f"{key} {trial}"), tags.TRIAL_NUMBER: str(trial)}
        nested = {tags.PARENT_RUN: study_id, tags.STAGE: tags.STAGE_TRIAL}
        yield trial_id, {**of_trial, **nested, tags.TRIAL_RECORD: "{}" + " " * 600}
        for fold in range(FOLDS):
            nested = {tags.PARENT_RUN: trial_id, tags.STAGE: tags.STAGE_FOLD}
            yield uuid.uuid4().hex, {**of_trial, **nested, tags.FOLD_INDEX: str(fold), tags.FOLD_RECORD: " " * 300}


def grow(store: Path, experiment_id: str, until: int) -> None:
    """Add studies to a store until it has so many runs."""
    with sqlite3.connect(store) as connection:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        (studies,) = connection.execute("SELECT count(*) FROM tags WHERE value = ?", (tags.STAGE_SWEEP,)).fetchone()
        while count < until:
            for run_id, run_tags in study_rows(studies):
                run = (run_id, "run", "FINISHED", 1_700_000_000_000 + count, "active", "", experiment_id)
                connection.execute(INSERT_RUN, run)
                rows = [(key, value, run_id) for key, value in run_tags.items()]
                connection.executemany('INSERT INTO tags ("key", value, run_uuid) VALUES (?, ?, ?)', rows)
                count += 1
            studies += 1
        connection.execute("ANALYZE")
    connection.close()


def measure(store: Path, indexed: Path, size: int, repetitions: int) -> list[Timing]:
    """Ask for one study in a store of so many runs, in each of the ways; print and return what it took."""
    grow(store, current_session().experiment_id, size)
    shutil.copy(store, indexed)
    plain, limit = sqlite3.connect(store), sqlite3.connect(indexed)
    limit.execute('CREATE INDEX by_value ON tags ("key", value)')
    limit.execute("ANALYZE")
    key = digest("study 3")
    question = (tags.STUDY_KEY, key, tags.STAGE, tags.STAGE_SWEEP, current_session().experiment_id)
    study = find_study_run(key)
    assert study is not None
    run_id = study.run_id
    assert plain.execute(SAME_QUESTION, question).fetchall() == [(run_id,)]
    assert limit.execute(SAME_QUESTION, question).fetchall() == [(run_id,)]
    timings = alternate(
        repetitions,
        raw_SQL_on_the_store_as_it_is=lambda: plain.execute(SAME_QUESTION, question).fetchall(),
        raw_SQL_with_an_index_on_key_and_value=lambda: limit.execute(SAME_QUESTION, question).fetchall(),
        assay_finds_the_study=lambda: find_study_run(key),
        assay_loads_its_50_trials=lambda: stored_trials(run_id, key),
    )
    show(f"{size} runs", timings)
    plain.close()
    limit.close()
    return timings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        open_project(write_project(Path(folder, "project"), 1))
        store, indexed = Path(folder, "project", "mlflow.db"), Path(folder, "indexed.db")
        tables = {f"{size} runs": measure(store, indexed, size, arguments.repetitions) for size in arguments.sizes}
        write_results("find_by_key", tables, [])


if __name__ == "__main__":
    main()
