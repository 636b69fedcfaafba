"""The champion across studies that may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infrastructure.config.schema.hpo import Objective
from infrastructure.errors import ConfigError, ExecutionError
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.execution.choosing import stored_choice
from training.hpo.execution.project import open_project
from training.hpo.records import TrialRecord, best_record
from training.hpo.selection import Choice, stable_score
from training.hpo.tracking.studies import Mismatch, StudySummary, comparable_studies, named_studies

TOP: Final = 3


@dataclass(frozen=True)
class StudyBest:
    """A study's best trial, absent while none is complete, and its score: the median of its best trials' values.

    Without a score it has too few complete trials to compete.
    """

    study_name: str
    run_id: str
    backbone: str
    trial_count: int
    complete_count: int
    trial: TrialRecord | None
    score: float | None


@dataclass(frozen=True)
class Ranking:
    """Comparable studies, the best score first; those without one come last.

    A score is the median of the `top` best trials. `mismatched` are other studies of the experiment, which aren't
    comparable. `choice` says which trial of the project's own study `refit` takes, if its value alone doesn't say so.
    """

    objective: Objective
    top: int
    studies: tuple[StudyBest, ...]
    mismatched: tuple[Mismatch, ...] = ()
    choice: Choice | None = None

    @property
    def champion(self) -> StudyBest | None:
        """The study with the best score."""
        return next((study for study in self.studies if study.score is not None), None)


def best(references: Sequence[str] = (), config_dir: str | Path | None = None, *, top: int = TOP) -> Ranking:
    """Rank studies by the median of their `top` best trials, so that no lucky trial decides.

    They are those that are named, or all of the project's experiment whose results mean the same as its study's. Raises
    NotComparableError if data, folds or metric of named studies differ, and ExecutionError if there is none to rank.
    """
    if top < 1:
        raise ConfigError([f"--top {top}: must be at least 1"])
    if references:
        _, config_folder = resolve_project_paths_with_fallback(config_dir=config_dir)
        setup_mlflow(config_dir=config_folder)
        found = named_studies(references)
        return Ranking(found[0].objectives[0], top, _ranked(found, top))
    project = open_project(config_dir)
    found, mismatched = comparable_studies(project.context.identity)
    if not found:
        others = f" ({len(mismatched)} others aren't comparable)" if mismatched else ""
        raise ExecutionError(f"no study like {project.run_name} in the tracking store{others}: run `assay sweep` first")
    own = next((study for study in found if study.key == project.context.study_key_hash), None)
    hpo = project.config.hpo
    is_by_value = hpo.selection is None and hpo.further_objectives is None
    choice = None if own is None or is_by_value else stored_choice(project, own.trials)
    return Ranking(hpo.objective, top, _ranked(found, top), tuple(mismatched), choice)


def _ranked(found: Sequence[StudySummary], top: int) -> tuple[StudyBest, ...]:
    direction = found[0].objectives[0].direction
    sign = -1.0 if direction == "maximize" else 1.0
    studies = [_study_best(study, direction, top) for study in found]

    def place(study: StudyBest) -> tuple[bool, float, float]:
        value = study.trial.value if study.trial is not None else None
        return study.score is None, sign * (study.score or 0.0), sign * (value or 0.0)

    return tuple(sorted(studies, key=place))


def _study_best(study: StudySummary, direction: str, top: int) -> StudyBest:
    own = [trial for trial in study.trials if not trial.imported_from]
    return StudyBest(
        study_name=study.run.name,
        run_id=study.run.run_id,
        backbone=study.backbone,
        trial_count=len(own),
        complete_count=len({trial.trial_key_hash for trial in own if trial.state == "complete"}),
        trial=best_record(own, study.objectives),
        score=stable_score(own, direction, top),
    )
