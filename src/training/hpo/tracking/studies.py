"""Studies of the tracking store, told from each other and compared only where their results mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.config.schema.hpo import Objective
from infrastructure.errors import NotComparableError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.naming.differences import differences
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.records import TrialRecord
from training.hpo.tracking.references import find_run, key_document, study_of
from training.hpo.tracking.study_runs import stored_trials


@dataclass(frozen=True)
class StudySummary:
    """A study as the store has it: its run, what it is of, and its trials by number."""

    run: RunRecord
    objective: Objective
    trials: tuple[TrialRecord, ...]

    @property
    def backbone(self) -> str:
        """The backbone as it was configured."""
        return self.run.tags.get(tags.BACKBONE, "")


def family_studies(study_family_hash: str) -> list[StudySummary]:
    """Return the experiment's studies that differ in the backbone alone: the newest variants, the oldest first."""
    found = queries.find_runs({tags.STUDY_FAMILY: study_family_hash, tags.STAGE: tags.STAGE_SWEEP})
    newest: dict[str, RunRecord] = {}
    for run in sorted(found, key=lambda run: run.variant):
        newest[run.tags[tags.STUDY_KEY]] = run
    return [_summary(run) for run in newest.values()]


def named_studies(references: Sequence[str]) -> list[StudySummary]:
    """Return studies by the ids or names of their runs or the beginning of their keys.

    Raises RunNotFoundError if one isn't there, and NotComparableError if their results mean different things.
    """
    found = {run.run_id: run for run in (study_of(find_run(reference)) for reference in references)}
    first, *others = found.values()
    for run in others:
        _check_comparable(first, run)
    return [_summary(run) for run in found.values()]


def _summary(run: RunRecord) -> StudySummary:
    hpo = key_document(run)["hpo"]
    assert isinstance(hpo, dict)
    trials = stored_trials(run.run_id, run.tags[tags.STUDY_KEY])
    records = tuple(trials[number].record for number in sorted(trials))
    return StudySummary(run, Objective.model_validate(hpo["objective"]), records)


def _check_comparable(one: RunRecord, two: RunRecord) -> None:
    """Raise NotComparableError, with the fields that differ, unless data and evaluation are the same."""
    if all(one.tags.get(key) == two.tags.get(key) for key in (tags.DATA_FINGERPRINT, tags.EVAL_FINGERPRINT)):
        return
    relevant = ("data.", "hpo.cv.", "hpo.objective.", "hpo.folds_fingerprint")
    try:
        found = [d for d in differences(key_document(one), key_document(two)) if f"{d.field}.".startswith(relevant)]
    except RunNotFoundError:
        found = []
    reason = "; ".join(map(str, found)) or "their fingerprints of data and evaluation differ"
    raise NotComparableError(
        f"{one.name} and {two.name} aren't comparable: {reason}; compare studies with the same data, folds and metric"
    )
