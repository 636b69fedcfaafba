"""A study's runs: found or created, filled, and read back as records."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean, pstdev
from types import TracebackType
from typing import Final, Self

from infrastructure.errors import OutputError, StudyHeldError, TrackingError
from infrastructure.naming import tags
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.run_names import RunLabels, run_name
from infrastructure.storage.files import make_private, write_bytes_atomic
from infrastructure.storage.lease import lease
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent, RunStatus
from infrastructure.tracking.mlflow.session import current_session
from training.execution.mlflow_setup import (
    create_training_mlflow_run,
    failure_content,
    params_as_text,
    training_content,
)
from training.execution.result import TrainingResult
from training.hpo.records import FoldRecord, TrialRecord
from training.hpo.tracking.claims import StudyClaim, claim_if_served, is_claimed
from training.hpo.tracking.context import HpoContext
from training.hpo.tracking.environments import environment_now, environment_of, environment_tags
from training.hpo.tracking.explain import DATA_FILES, data_files
from training.hpo.tracking.reports import study_note

__all__ = [
    "StudyRuns",
    "TrialRun",
    "common_tags",
    "end_running",
    "find_study_run",
    "stored_trials",
    "study_lease",
    "study_variant",
    "whole_trials",
]

LOOK_AGAIN: Final = 1.0
"""Seconds after which a trial that begins is preceded by a look at the code: git alone takes milliseconds."""


@dataclass
class TrialRun:
    """A trial's run, and the runs of its folds that were begun."""

    run_id: str
    record: TrialRecord
    fold_run_ids: dict[int, str] = field(default_factory=dict)
    ending: TrialRecord | None = None
    """How the trial ended, if its run says so and isn't done: what wrote it was killed in the middle."""


class StudyRuns:
    """Writes and reads the runs of one study: the study's own, its trials' below it, their folds' below those.

    It is used as a context. What is written to the runs inside goes to the outbox; leaving waits until all is sent, and
    on an error ends as KILLED what still runs.
    """

    def __init__(
        self, context: HpoContext, run_id: str, outbox: Outbox, claim: StudyClaim | None, *, is_new: bool
    ) -> None:
        self.context = context
        self.run_id = run_id
        self.is_new = is_new
        self._outbox = outbox
        self._claim = claim
        self._kept_texts: set[str] = set()
        self._environment: dict[str, str] = {}
        self._looked = -math.inf
        self.changed_environment: tuple[Difference, ...] = ()
        self._own_config: dict[str, str] = {}

    @classmethod
    def open(cls, context: HpoContext, name: str, folder: Path) -> StudyRuns:
        """Take up the study's run if the store has one and resuming is wanted; create it otherwise.

        What an earlier driver left unsent in the study's folder is sent first.
        """
        with ExitStack() as undo:
            study = cls._opened(context, name, folder, undo)
            undo.pop_all()  # from here on leaving the study does it
        return study

    @classmethod
    def _opened(cls, context: HpoContext, name: str, folder: Path, undo: ExitStack) -> StudyRuns:
        found = find_study_run(context.study_key_hash) if context.should_resume else None
        claim = None
        if found is not None:
            outbox, claim = _taken_up(context, folder, found.run_id, undo)
        run_id, run = create_training_mlflow_run(
            current_session().experiment_name,
            name,
            tags={**common_tags(context), **_study_tags(context), **_config_tags(context, found), tags.DONE: "false"},
            run_id=found.run_id if found else None,
        )
        if found is None:
            try:
                outbox, claim = _taken_up(context, folder, run_id, undo)
            except StudyHeldError:  # by somebody who began at the same time
                current_session().live_runs.discard(run_id)
                if not is_claimed(run_id):  # who has the study may have found this very run, and be going on with it
                    runs.end_run(run_id, "KILLED")
                    runs.delete_run(run_id)
                raise
        study = cls(context, run_id, outbox, claim, is_new=found is None)
        study.sees_another_environment()
        if tags.EXEC_FINGERPRINT not in run.data.tags:  # a driver may have died before it came to this
            outbox.keep_text(run_id, data_files(context), DATA_FILES)
            own = {tags.NOTE: study_note(context, run_id), **study._environment}
            outbox.write(run_id, RunContent(tags=own))  # last, since it says that the rest is there
        if found is not None:  # what it was begun with stays; the trials from here on say what is another now
            study._take_up(dict(run.data.tags))
        if context.variant > 1:  # what an earlier variant left behind when its driver was killed
            end_running({tags.STUDY_KEY: context.study_key_hash}, but=run_id)
        return study

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._outbox.close(current_session().client.patience)
                return
            # What can't be sent waits on disk; the error is what is told.
            with suppress(TrackingError, StudyHeldError, OutputError):
                self._outbox.end_live("KILLED")
            self._outbox.abandon(runs.LAST_SECONDS)
        finally:
            if self._claim is not None:
                self._claim.release()

    def _keep_text(self, text: str, file: str) -> None:
        """Keep a text with the study's run, once."""
        if file not in self._kept_texts:
            self._kept_texts.add(file)
            self._outbox.keep_text(self.run_id, text, file)

    def _take_up(self, found: dict[str, str]) -> None:
        """See in what configuration and environment are others than those that the study's run was found with."""
        if tags.join_long(tags.CONFIG, found) not in (None, self.context.configs):
            self._own_config = tags.split_long(tags.CONFIG, self.context.configs)
        before = environment_of(found, self.run_id)
        now = environment_now(self.context.root_dir)
        self.changed_environment = tuple(differences(before, now)) if before else ()

    def trial_runs(self) -> list[TrialRun]:
        """Return all trials of the study in order of their numbers; one whose run is gone counts as failed."""
        return whole_trials(self.run_id, self.context.study_key_hash)

    def finish_trial(self, trial: TrialRun) -> None:
        """Write the rest of a trial that had ended when its driver was killed."""
        assert trial.ending is not None
        trial.record = trial.ending
        end_running({tags.PARENT_RUN: trial.run_id})
        self._outbox.reopen(trial.run_id, {})
        self.complete_trial(trial)

    def take_in_trial(self, record: TrialRecord) -> TrialRun:
        """Create the run of a trial from elsewhere, which doesn't say with what, and on which data, it was done."""
        unknown = (tags.DATA_FINGERPRINT, tags.EVAL_FINGERPRINT) if record.imported_from else ()
        return self._begin(record, {}, unknown)

    def sees_another_environment(self) -> bool:
        """Look, if the last time is a second ago, at what trials are executed with; tell whether it has changed."""
        if time.monotonic() - self._looked < LOOK_AGAIN:
            return False
        before = self._environment
        self._environment = environment_tags(self.context.root_dir, self._keep_text)
        self._looked = time.monotonic()
        return self._environment != before

    def sync(self) -> None:
        """See that how runs ended is on disk, whatever becomes of the machine."""
        self._outbox.sync()

    def begin_trial(self, record: TrialRecord) -> TrialRun:
        """Create a trial's run, with everything that its resumption needs."""
        return self._begin(record, {**self._environment, **self._own_config})

    def _begin(self, record: TrialRecord, own: Mapping[str, str], without: Collection[str] = ()) -> TrialRun:
        shared = {key: value for key, value in common_tags(self.context).items() if key not in without}
        run = self._outbox.create(
            self._name(tags.STAGE_TRIAL, record),
            {
                **shared,
                tags.STAGE: tags.STAGE_TRIAL,
                tags.TRIAL_KEY: record.trial_key_hash,
                **own,
                **_record_tags(record),
                tags.TRIAL_NUMBER: str(record.number),
            },
            self.run_id,
        )
        self._outbox.write(run, RunContent(params=params_as_text(record.params)))
        return TrialRun(run, record)

    def begin_fold(self, trial: TrialRun, fold_idx: int, fold_key: str) -> None:
        """Create a fold's run below its trial's, or take up the one that was begun."""
        begun = trial.fold_run_ids.get(fold_idx)
        if begun is not None:
            self._outbox.reopen(begun, self._environment)
            return
        fold_tags = {
            **common_tags(self.context),
            tags.STAGE: tags.STAGE_FOLD,
            tags.TRIAL_KEY: trial.record.trial_key_hash,
            tags.FOLD_KEY: fold_key,
            tags.TRIAL_NUMBER: str(trial.record.number),
            tags.FOLD_INDEX: str(fold_idx),
            **self._environment,
        }
        name = self._name(tags.STAGE_FOLD, trial.record, fold_idx)
        trial.fold_run_ids[fold_idx] = self._outbox.create(name, fold_tags, trial.run_id)

    def complete_fold(self, trial: TrialRun, fold_idx: int, result: TrainingResult, record: FoldRecord) -> None:
        """Write what came of a fold, then that it is done."""
        kept = tags.split_long(tags.FOLD_RECORD, record.model_dump_json())
        content = training_content(result, trial.record.params, kept)
        self._outbox.end(trial.fold_run_ids[fold_idx], content, "FINISHED", done=True)

    def note_deaths(self, trial: TrialRun, fold_idx: int, causes: Sequence[str]) -> None:
        """Keep with a fold's run what the processes died of that were to do it."""
        content = RunContent(tags={tags.DEATHS: "; ".join(causes)[-tags.CHUNK :]})
        self._outbox.write(trial.fold_run_ids[fold_idx], content)

    def end_fold(self, trial: TrialRun, fold_idx: int, reason: str, status: RunStatus) -> None:
        """End a fold's run that came to nothing: pruned, failed or interrupted."""
        self._outbox.end(trial.fold_run_ids[fold_idx], failure_content(reason), status, done=False)

    def complete_trial(self, trial: TrialRun) -> None:
        """Write how a trial ended, then that it is done."""
        record = trial.record
        status: dict[str, RunStatus] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
        own = {**_record_tags(record), **failure_content(record.failure).tags}
        content = RunContent(metrics=_mean_metrics(record), tags=own)
        self._outbox.end(trial.run_id, content, status[record.state], done=True)

    def resume_trial(self, trial: TrialRun) -> None:
        """Take up the run of a trial that was cut short."""
        self._outbox.reopen(trial.run_id, {**self._environment, **self._own_config})
        self._outbox.write(trial.run_id, RunContent(params=params_as_text(trial.record.params)))

    def leave_trial(self, trial: TrialRun) -> None:
        """End the runs of a trial that was cut short and isn't gone on with now; it isn't done."""
        end_running({tags.PARENT_RUN: trial.run_id})
        runs.end_run(trial.run_id, "KILLED")

    def keep_log(self, trial: TrialRun, fold_idx: int, log: Path) -> None:
        """Keep what the worker of a fold printed with the fold's run."""
        if log.is_file():
            self._outbox.keep_text(trial.fold_run_ids[fold_idx], log.read_text(errors="replace"), log.name)

    def keep_folds(self, folds_file: Path) -> None:
        """Keep the study's folds with its run."""
        runs.log_text(self.run_id, folds_file.read_text(), folds_file.name)

    def fetch_folds(self, folds_file: Path) -> bool:
        """Write the folds that the study's run keeps to `folds_file`; False if it keeps none."""
        text = runs.read_text(self.run_id, folds_file.name)
        if text is not None:
            write_bytes_atomic(folds_file, text.encode())
        return text is not None

    def complete_study(self, best: TrialRecord | None, trial_count: int, *, is_done: bool) -> None:
        """Write the study's best value, then that it is done; if not, the run ends as interrupted."""
        metrics = [MetricPoint("trials", trial_count)]
        if best is not None and best.value is not None:
            metrics += [MetricPoint("best_value", best.value), MetricPoint("best_trial", best.number)]
        best_tags = (
            {} if best is None else {tags.BEST_PARAMS: json.dumps(best.params, ensure_ascii=False)[: tags.CHUNK]}
        )
        content = RunContent(metrics=metrics, tags=best_tags)
        self._outbox.end(self.run_id, content, "FINISHED" if is_done else "KILLED", done=is_done)

    def _name(self, stage: str, record: TrialRecord, fold_idx: int = 0) -> str:
        labels = RunLabels(
            backbone=self.context.backbone,
            study_key_hash=self.context.study_key_hash,
            trial_number=record.number,
            trial_key_hash=record.trial_key_hash,
            fold_idx=fold_idx,
        )
        return run_name(self.context.naming, stage, labels)


def _taken_up(context: HpoContext, folder: Path, run_id: str, undo: ExitStack) -> tuple[Outbox, StudyClaim | None]:
    """Claim the study where it is in a server, and send what an earlier driver left unsent; `undo` gives both up."""
    claim = claim_if_served((context.study_key_hash, context.variant), run_id)
    if claim is not None:
        undo.callback(claim.release)
    outbox = Outbox(folder, run_id)
    undo.callback(outbox.abandon, 0)
    if claim is not None:
        claim.keep(outbox.fail)
    outbox.drain(current_session().client.patience)
    return outbox, claim


@contextmanager
def study_lease(study_key_hash: str, name: str, folder: Path, part: str = "") -> Iterator[None]:
    """Own a study while the context lasts: its folder, and in a local store the study itself.

    With `part` it is not its trials that are owned but another part of its work, its refits for instance. Raises
    StudyHeldError, which names the holder, if another process does.
    """
    make_private(folder.parent)
    suffix = f"-{part}" if part else ""
    locks = [folder.parent / ".locks" / f"{folder.name}{suffix}.lock"]
    if (store := current_session().store_folder) is not None:
        locks.append(store / ".assay" / f"{study_key_hash[:16]}{suffix}.lock")
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lease(lock, name))
        yield


def find_study_run(study_key_hash: str) -> queries.RunRecord | None:
    """Return the run of the study with this key, of its newest variant, or None; the legacy tag key is read too."""
    wanted = {tags.STUDY_KEY: study_key_hash, tags.STAGE: tags.STAGE_SWEEP}
    found = queries.find_runs(wanted)
    if not found:
        legacy = queries.find_runs({tags.STUDY_KEY_LEGACY: study_key_hash})
        found = [run for run in legacy if tags.PARENT_RUN not in run.tags]
    # Where a server made two runs of one request, the one that was gone on with has what is written after creation.
    return max(reversed(found), key=lambda run: (run.variant, tags.EXEC_FINGERPRINT in run.tags), default=None)


def study_variant(study_key_hash: str, *, start_over: bool) -> int:
    """Return the variant of the study that is gone on with, or of the one that is begun."""
    found = find_study_run(study_key_hash)
    return 1 if found is None else found.variant + start_over


def stored_trials(study_run_id: str, study_key_hash: str) -> dict[int, TrialRun]:
    """Return the study's trials by number; where two runs have one number, the one that is done, else the older."""
    found = queries.find_runs({tags.PARENT_RUN: study_run_id, tags.STAGE: tags.STAGE_TRIAL})
    trials: dict[int, TrialRun] = {}
    for run in sorted(found, key=lambda run: not run.is_done):
        text = tags.join_long(tags.TRIAL_RECORD, run.tags)
        if text is None or run.tags.get(tags.STUDY_KEY) != study_key_hash:
            continue
        record = TrialRecord.model_validate_json(text)
        ending = None
        if not run.is_done:
            ending = record if record.state != "running" else None
            record = record.model_copy(update={"state": "running"})
        trials.setdefault(record.number, TrialRun(run.run_id, record, ending=ending))
    return trials


def whole_trials(study_run_id: str, study_key_hash: str) -> list[TrialRun]:
    """Return the study's trials in order of their numbers, those at work with the folds that they have.

    One whose run is gone from the store counts as failed.
    """
    stored = stored_trials(study_run_id, study_key_hash)
    for trial in stored.values():
        if trial.record.state == "running":
            _load_folds(trial)
    return [stored.get(number) or _lost_trial(number) for number in range(max(stored, default=-1) + 1)]


def _lost_trial(number: int) -> TrialRun:
    reason = "its run is gone from the store"
    return TrialRun("", TrialRecord(number=number, trial_key_hash="", params={}, state="failed", failure=reason))


def _load_folds(trial: TrialRun) -> None:
    folds = dict(trial.record.folds)
    for run in queries.find_runs({tags.PARENT_RUN: trial.run_id, tags.STAGE: tags.STAGE_FOLD}):
        fold_idx = int(run.tags[tags.FOLD_INDEX])
        text = tags.join_long(tags.FOLD_RECORD, run.tags)
        if run.is_done and text is not None:
            folds[fold_idx] = FoldRecord.model_validate_json(text)
        trial.fold_run_ids[fold_idx] = run.run_id
    trial.record = trial.record.model_copy(update={"folds": folds})


def end_running(wanted: Mapping[str, str], but: str = "") -> None:
    """End the runs with these tags that a killed driver left RUNNING, except one."""
    for run in queries.find_runs(wanted):
        if run.status == "RUNNING" and run.run_id != but:
            runs.end_run(run.run_id, "KILLED")


def _record_tags(record: TrialRecord) -> dict[str, str]:
    return tags.split_long(tags.TRIAL_RECORD, record.model_dump_json())


def _study_tags(context: HpoContext) -> dict[str, str]:
    return {
        tags.STAGE: tags.STAGE_SWEEP,
        tags.STUDY_NAME: context.study_name,
        tags.VARIANT: str(context.variant),
        **tags.split_long(tags.STUDY_KEY_DOCUMENT, context.identity.document),
    }


def _config_tags(context: HpoContext, found: queries.RunRecord | None) -> dict[str, str]:
    """Return the configuration as tags, unless the study keeps the one that it was begun with."""
    is_kept = found is not None and tags.join_long(tags.CONFIG, found.tags) is not None
    return {} if is_kept else tags.split_long(tags.CONFIG, context.configs)


def common_tags(context: HpoContext) -> dict[str, str]:
    """Return the tags that every run of a study carries."""
    identity = context.identity
    values = {
        tags.STUDY_KEY: identity.study_key_hash,
        tags.STUDY_FAMILY: identity.study_family_hash,
        tags.STUDY_KEY_SCHEMA: str(identity.schema_version),
        tags.DATA_FINGERPRINT: identity.data_fingerprint,
        tags.EVAL_FINGERPRINT: identity.eval_fingerprint,
        tags.BACKBONE: context.backbone,
        tags.PROJECT: context.naming.project,
    }
    return {key: value for key, value in values.items() if value}


def _mean_metrics(record: TrialRecord) -> list[MetricPoint]:
    names = sorted({name for fold in record.folds.values() for name in fold.metrics})
    points: list[MetricPoint] = []
    for name in names:
        values = [fold.metrics[name] for fold in record.folds.values() if name in fold.metrics]
        points += [MetricPoint(f"valid_{name}", fmean(values)), MetricPoint(f"valid_{name}_std", pstdev(values))]
    if record.state == "complete" and record.value is not None:
        points.append(MetricPoint("objective", record.value))
    return [point for point in points if isfinite(point.value)]
