"""The best trial across studies that may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infrastructure.config.schema.hpo import Objective
from infrastructure.errors import ExecutionError
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.execution.project import open_project
from training.hpo.records import TrialRecord, best_record
from training.hpo.tracking.studies import family_studies, named_studies


@dataclass(frozen=True)
class StudyBest:
    """The best trial of one study; absent while none is complete."""

    study_name: str
    run_id: str
    backbone: str
    trial_count: int
    trial: TrialRecord | None


@dataclass(frozen=True)
class Ranking:
    """Comparable studies, the one with the best trial first."""

    objective: Objective
    studies: tuple[StudyBest, ...]


def best(references: Sequence[str] = (), config_dir: str | Path | None = None) -> Ranking:
    """Rank studies by their best trials: those that are named, or all of the family of the project's study.

    A family are the studies that differ in nothing but the backbone. Raises NotComparableError if data, folds or
    metric of named studies differ, and ExecutionError if the store has none of the project's family.
    """
    if references:
        _, config_folder = resolve_project_paths_with_fallback(config_dir=config_dir)
        setup_mlflow(config_dir=config_folder)
        found = named_studies(references)
    else:
        project = open_project(config_dir)
        found = family_studies(project.context.identity.study_family_hash)
        if not found:
            raise ExecutionError(f"no study like {project.run_name} in the tracking store: run `assay sweep` first")
    objective = found[0].objective
    ranked = [
        StudyBest(
            study_name=study.run.name,
            run_id=study.run.run_id,
            backbone=study.backbone,
            trial_count=sum(not trial.imported_from for trial in study.trials),
            trial=best_record(study.trials, objective.direction),
        )
        for study in found
    ]
    sign = -1.0 if objective.direction == "maximize" else 1.0

    def place(study: StudyBest) -> tuple[bool, float]:
        value = study.trial.value if study.trial is not None else None
        return value is None, sign * (value or 0.0)

    return Ranking(objective, tuple(sorted(ranked, key=place)))
