"""Studies of the tracking store, told from each other and compared only where their results mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.config.schema.hpo import Objective
from infrastructure.errors import NotComparableError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.naming.differences import differences
from infrastructure.naming.keys import StudyIdentity, identity_of, parse_document
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.records import TrialRecord
from training.hpo.tracking.references import find_run, key_document, study_of
from training.hpo.tracking.study_runs import stored_trials


@dataclass(frozen=True)
class StudySummary:
    """A study as the store has it: its run, what it is of, and its trials by number."""

    run: RunRecord
    objectives: tuple[Objective, ...]
    trials: tuple[TrialRecord, ...]

    @property
    def key(self) -> str:
        """The key hash of the study."""
        return self.run.tags[tags.STUDY_KEY]

    @property
    def backbone(self) -> str:
        """The backbone as it was configured."""
        return self.run.tags.get(tags.BACKBONE, "")


@dataclass(frozen=True)
class Mismatch:
    """A study that isn't comparable, and why: the fields of data and evaluation that differ."""

    study_name: str
    run_id: str
    reason: str


def comparable_studies(identity: StudyIdentity) -> tuple[list[StudySummary], list[Mismatch]]:
    """Return the experiment's studies whose results mean the same as this study's, and beside them the others.

    Of variants the newest counts; the oldest study comes first.
    """
    newest: dict[str, RunRecord] = {}
    for run in sorted(queries.find_runs({tags.STAGE: tags.STAGE_SWEEP}), key=lambda run: run.variant):
        newest[run.tags.get(tags.STUDY_KEY, run.run_id)] = run
    reasons = {run.run_id: _mismatch(identity, run) for run in newest.values()}
    mismatched = [Mismatch(run.name, run.run_id, why) for run in newest.values() if (why := reasons[run.run_id])]
    return [_summary(run) for run in newest.values() if not reasons[run.run_id]], mismatched


def named_studies(references: Sequence[str]) -> list[StudySummary]:
    """Return studies by the ids or names of their runs or the beginning of their keys.

    Raises RunNotFoundError if one isn't there, and NotComparableError if their results mean different things.
    """
    found = {run.run_id: run for run in (study_of(find_run(reference)) for reference in references)}
    first, *others = found.values()
    identity = identity_of(key_document(first))
    for run in others:
        if reason := _mismatch(identity, run):
            raise NotComparableError(
                f"{first.name} and {run.name} aren't comparable: {reason}; "
                "compare studies with the same data, folds and metric"
            )
    return [_summary(run) for run in found.values()]


def _summary(run: RunRecord) -> StudySummary:
    hpo = key_document(run)["hpo"]
    assert isinstance(hpo, dict)
    trials = stored_trials(run.run_id, run.tags[tags.STUDY_KEY])
    records = tuple(trials[number].record for number in sorted(trials))
    further = hpo.get("further_objectives") or []
    assert isinstance(further, list)
    objectives = tuple(Objective.model_validate(values) for values in (hpo["objective"], *further))
    return StudySummary(run, objectives, records)


def _mismatch(identity: StudyIdentity, run: RunRecord) -> str:
    """Return in what data and evaluation of a run's study differ from a study's, or an empty text."""
    try:
        document = key_document(run)
    except RunNotFoundError as error:
        return str(error)
    other = identity_of(document)
    if (identity.data_fingerprint, identity.eval_fingerprint) == (other.data_fingerprint, other.eval_fingerprint):
        return ""
    relevant = ("data.", "hpo.cv.", "hpo.objective.", "hpo.further_objectives.", "hpo.folds_fingerprint.")
    found = differences(parse_document(identity.document), document)
    return "; ".join(str(difference) for difference in found if f"{difference.field}.".startswith(relevant))
