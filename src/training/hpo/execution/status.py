"""A study as the tracking store has it, without changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.hpo.execution.project import open_project
from training.hpo.execution.results import StudyResult
from training.hpo.records import best_record
from training.hpo.tracking.study_runs import find_study_run, stored_trials


@dataclass(frozen=True)
class StudyStatus:
    """How many trials are in which state; `result` is absent until a trial is complete."""

    summary: str
    result: StudyResult | None


def study_status(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> StudyStatus:
    """Return the state of the project's study."""
    project = open_project(config_dir, overrides)
    study = find_study_run(project.context.study_key_hash)
    if study is None:
        return StudyStatus(f"{project.run_name}: not begun", None)
    trials = stored_trials(study.run_id, project.context.study_key_hash)
    records = tuple(trials[number].record for number in sorted(trials))
    states = Counter(record.state for record in records if not record.imported_from)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    imported = sum(bool(record.imported_from) for record in records)
    beside = f", beside {imported} imported" if imported else ""
    own = len(records) - imported
    summary = f"{project.run_name}: {own} of {project.config.hpo.max_trials} trials ({counts}){beside}"
    objective = project.config.hpo.objective
    best = best_record(records, objective.direction)
    if best is None:
        return StudyStatus(summary, None)
    result = StudyResult(
        name=project.run_name,
        study_key_hash=project.context.study_key_hash,
        run_id=study.run_id,
        objective=objective,
        trials=records,
        best=best,
    )
    return StudyStatus(summary, result)
