"""Trials of another study of the tracking store, read so that they inform this one's sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from infrastructure.config.schema import HpoConfig
from infrastructure.errors import ExecutionError, NotComparableError
from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.keys import StudyIdentity, parse_document, trial_key_hash
from training.hpo.records import TrialRecord
from training.hpo.search_space import check_params, with_constants
from training.hpo.tracking.references import find_run, key_document, study_of
from training.hpo.tracking.study_runs import stored_trials


@dataclass(frozen=True)
class EarlierTrials:
    """The trials of a study that are points of another one's search space, and why its others aren't.

    `differing` are the fields of data, folds and training in which the two studies differ.
    """

    study_name: str
    records: list[TrialRecord]
    refused: list[str]
    differing: list[Difference]


def earlier_trials(reference: str, identity: StudyIdentity, config: HpoConfig) -> EarlierTrials:
    """Return the complete trials of a study as trials of this one, each marked as imported.

    `reference` is the id or name of a study's run, or the beginning of its key. Raises RunNotFoundError if it isn't
    there, NotComparableError for this very study or one with another objective, and ExecutionError if no trial of it is
    a point of this search space.
    """
    study = study_of(find_run(reference))
    key = study.tags[tags.STUDY_KEY]
    if key == identity.study_key_hash:
        raise NotComparableError(f"--from: {study.name} is this very study, which goes on from its own trials anyway")
    found = list(differences(key_document(study), parse_document(identity.document)))
    if other := [difference for difference in found if difference.field.startswith("hpo.objective.")]:
        reason = "; ".join(map(str, other))
        raise NotComparableError(
            f"--from: what {study.name} optimized isn't this study's objective: {reason}; name one that has the same"
        )
    complete = [
        trial.record
        for _, trial in sorted(stored_trials(study.run_id, key).items())
        if trial.record.state == "complete" and trial.record.answered_by is None and not trial.record.imported_from
    ]
    records: list[TrialRecord] = []
    refused: list[str] = []
    for trial in complete:
        params = with_constants(config.search_space, trial.params)
        if problems := check_params(config.search_space, params):
            refused.append(f"trial {trial.number}: {problems[0]}")
        else:
            records.append(_imported(trial, f"{study.name}/{trial.number}", identity.study_key_hash, params))
    if not records:
        why = f"; the first: {refused[0]}" if refused else ": it has no complete trial"
        raise ExecutionError(f"--from: no trial of {study.name} can be taken{why}")
    return EarlierTrials(study.name, records, refused, _telling(found))


def _imported(trial: TrialRecord, origin: str, study_key_hash: str, params: Mapping[str, JsonValue]) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        trial_key_hash=trial_key_hash(study_key_hash, params),
        params=dict(params),
        state="complete",
        value=trial.value,
        imported_from=origin,
    )


def _telling(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences that change what a value means, not how it was searched for."""
    meaning = ("data.", "hpo.cv.", "hpo.folds_fingerprint.", "train.", "backbone.")
    return [difference for difference in found if f"{difference.field}.".startswith(meaning)]
