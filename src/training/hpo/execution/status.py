"""A study as the tracking store has it, without changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infrastructure.config.schema.hpo import Objective
from training.hpo.execution.project import Project, open_project
from training.hpo.execution.results import StudyResult
from training.hpo.records import TrialRecord, best_record
from training.hpo.tracking.study_runs import find_study_run, stored_trials


@dataclass(frozen=True)
class StudyStatus:
    """A study's trials; none before it is begun, when `run_id` is empty, and no `best` until one is complete."""

    name: str
    study_key_hash: str
    run_id: str
    objectives: tuple[Objective, ...]
    max_trials: int
    trials: tuple[TrialRecord, ...]
    trial_run_ids: tuple[str, ...]

    @property
    def objective(self) -> Objective:
        """The objective that trials are listed by."""
        return self.objectives[0]

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        return best_record(self.trials, self.objectives)

    @property
    def summary(self) -> str:
        """The study's name and how many trials are in which state, in one line."""
        return f"{self.name}: {self.counts}"

    @property
    def counts(self) -> str:
        """How many trials are in which state."""
        if not self.run_id:
            return "not begun"
        states = Counter(record.state for record in self.trials if not record.imported_from)
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
        imported = sum(bool(record.imported_from) for record in self.trials)
        beside = f", beside {imported} imported" if imported else ""
        return f"{len(self.trials) - imported} of {self.max_trials} trials ({counts}){beside}"

    @property
    def result(self) -> StudyResult | None:
        """The study as a sweep returns it; None until a trial is complete."""
        if (best := self.best) is None:
            return None
        return StudyResult(self.name, self.study_key_hash, self.run_id, self.objectives, self.trials, best)


def study_status(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> StudyStatus:
    """Return the state of the project's study."""
    return status_of(open_project(config_dir, overrides))


def status_of(project: Project) -> StudyStatus:
    """Return the state of an opened project's study."""
    key = project.context.study_key_hash
    study = find_study_run(key)
    trials = {} if study is None else stored_trials(study.run_id, key)
    return StudyStatus(
        name=project.run_name,
        study_key_hash=key,
        run_id="" if study is None else study.run_id,
        objectives=project.config.hpo.objectives,
        max_trials=project.config.hpo.max_trials,
        trials=tuple(trials[number].record for number in sorted(trials)),
        trial_run_ids=tuple(trials[number].run_id for number in sorted(trials)),
    )
