"""Drives the trials of one study: proposes them, hands their folds to an executor, and keeps what comes of them.

With one worker, trials run one after another and a resumed study proposes what an uninterrupted one would have.
With several, a free worker takes the next fold of the oldest trial, and only when there is none a new trial is
proposed, so what is proposed depends on what had finished by then.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from pydantic import JsonValue

from infrastructure.errors import ExecutionError, OutputError
from infrastructure.executors.base import Executor, TaskOutcome
from infrastructure.naming.keys import fold_key_hash, trial_key_hash
from training.execution.result import TrainingResult, read_result
from training.execution.task import TrainingTask
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import Project
from training.hpo.records import FoldRecord, TrialRecord, best_record
from training.hpo.study import FIXED_PARAMS, OptunaStudy
from training.hpo.tracking.study_runs import StudyRuns, TrialRun

FAILURES_IN_A_ROW: Final = 3


@dataclass
class _ActiveTrial:
    """A trial at work: its folds that wait, that run, and that are done, and what their processes died of."""

    run: TrialRun
    waiting: deque[int]
    running: set[int] = field(default_factory=set)
    folds: dict[int, FoldRecord] = field(default_factory=dict)
    deaths: dict[int, list[str]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.run.record.number


@dataclass(frozen=True)
class Limits:
    """When no further trial is proposed: after `max_trials` in all, or when `deadline` (monotonic, in s) is past."""

    max_trials: int
    deadline: float = float("inf")


class StudyDriver:
    """Runs trials of a study until a limit is reached; `records` are all its trials by number."""

    def __init__(self, project: Project, runs: StudyRuns, fold_count: int, progress: Progress) -> None:
        self._project = project
        self._runs = runs
        self._fold_count = fold_count
        self._progress = progress
        self._objective = project.config.hpo.objective
        self._active: dict[int, _ActiveTrial] = {}
        self._interrupted: deque[TrialRun] = deque()
        self._twins: list[TrialRun] = []
        self._spared: set[int] = set()
        self._failures = 0
        self._uncounted = 0
        self.records: dict[int, TrialRecord] = {}
        self._rebuild()

    def restore(self) -> None:
        """Take in the trials that the tracking store has; those that were cut short are gone on with first."""
        stored = self._runs.trial_runs()
        for trial in stored:
            if trial.ending is not None:
                self._runs.finish_trial(trial)
        self.records = {trial.record.number: trial.record for trial in stored}
        self._rebuild()
        self._interrupted.extend(trial for trial in stored if trial.record.state == "running")
        self._spared = {trial.record.number for trial in stored if FIXED_PARAMS in trial.record.sampler_state}
        self._uncounted = self._burnt_trials() + sum(bool(trial.record.imported_from) for trial in stored)

    def _rebuild(self) -> None:
        """Begin the sampler's view of the study anew, from the records."""
        config = self._project.config.hpo
        self._optuna = OptunaStudy(config, self._project.context.study_key_hash, self._fold_count)
        self._optuna.restore(self.records[number] for number in sorted(self.records))

    def _burnt_trials(self) -> int:
        """Return how many trials failed before the cause was mended, which don't count towards max_trials.

        They come in rows that stopped the sweep. It is read from the records, so that a kill changes nothing of it.
        """
        own = [record for _, record in sorted(self.records.items()) if not record.imported_from]
        first = next((index for index, record in enumerate(own) if record.state == "complete"), len(own))
        failed = sum(record.state == "failed" for record in own[:first])
        if first == len(own) == failed >= self._project.config.hpo.max_trials:
            return failed
        return failed - failed % FAILURES_IN_A_ROW

    def take_in(self, imported: Sequence[TrialRecord]) -> int:
        """Take in trials from elsewhere, those that the study hasn't got yet, and return how many that were.

        Trials of this very study keep their numbers. Raises ExecutionError if another one has such a number already.
        """
        known = {_origin(record) for record in self.records.values() if record.imported_from}
        new = [record for record in imported if _origin(record) not in known and not self._has(record)]
        for record in new:
            number = max(self.records, default=-1) + 1 if record.imported_from else record.number
            self._take_in(record.model_copy(update={"number": number}))
        self._rebuild()
        return len(new)

    def _has(self, record: TrialRecord) -> bool:
        """Tell whether the study has a trial of its own that was exported before."""
        there = self.records.get(record.number)
        if there is None or record.imported_from or not there.trial_key_hash:  # the last one's run is gone
            return False
        if there.trial_key_hash != record.trial_key_hash:
            raise ExecutionError(
                f"trial {record.number} of the imported study is another one than here: "
                "the study went on in two places; import it with --force, which starts it over"
            )
        return True

    def _take_in(self, record: TrialRecord) -> None:
        trial = self._runs.take_in_trial(record)
        self.records[record.number] = record
        self._uncounted += bool(record.imported_from)
        if record.state == "running":
            self._interrupted.append(trial)
        else:
            self._runs.complete_trial(trial)

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial so far."""
        return best_record(self.records.values(), self._project.config.hpo.objectives)

    def run(self, executor: Executor, limits: Limits) -> None:
        """Propose and run trials until a limit is reached and all that began has ended."""
        while True:
            self._fill(executor, limits)
            if not executor.running:
                return
            for outcome in executor.wait():
                self._handle(executor, outcome)
            self._runs.sync()

    def run_one(self, executor: Executor, params: Mapping[str, JsonValue]) -> TrialRecord:
        """Run all folds of one trial with these hyperparameters, unpruned, unless the study has it already.

        Other trials that were cut short stay so, for a sweep to go on with.
        """
        key = trial_key_hash(self._project.context.study_key_hash, params)
        same = next((trial for trial in self._interrupted if trial.record.trial_key_hash == key), None)
        others = [trial for trial in self._interrupted if trial is not same]
        for trial in others:
            self._runs.leave_trial(trial)
        self._interrupted = deque([same] if same is not None else [])
        number = same.record.number if same is not None else self._optuna.next_number
        self._spared.add(number)
        if same is None:
            proposed = self._optuna.ask(params)
            assert proposed is not None, "a trial with given hyperparameters can't be out of points"
            self._start(executor, proposed)
        self.run(executor, Limits(max_trials=0))
        self._interrupted.extend(others)
        return self.records[number]

    def should_stop(self, task_id: str, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in a report of a fold, and tell whether the pruner stops it."""
        number, fold_idx = _numbers(task_id)
        value = metrics.get(self._objective.metric)
        if value is None or not isfinite(value):
            return False
        self._progress.fold_reported(number, fold_idx, step, value)
        active = self._active.get(number)
        if active is None:
            return True
        curve = active.folds.get(fold_idx, FoldRecord()).curve
        if step in curve:  # the first report of a step is the one that counts
            return False
        stop = self._optuna.should_stop_fold(number, fold_idx, step, value)
        curve = {**curve, step: value}
        active.folds[fold_idx] = FoldRecord(curve=curve, pruner_state=self._optuna.pruner_state(number, fold_idx))
        return stop and number not in self._spared

    def note_retry(self, task_id: str, cause: str) -> None:
        """Take in that the process of a fold died and the fold is begun again, and keep the cause with its run."""
        number, fold_idx = _numbers(task_id)
        active = self._active[number]
        active.deaths.setdefault(fold_idx, []).append(cause)
        self._runs.note_deaths(active.run, fold_idx, active.deaths[fold_idx])
        self._progress.message(f"trial {number} fold {fold_idx}: {cause}; it is begun again")

    def _fill(self, executor: Executor, limits: Limits) -> None:
        while executor.running < executor.capacity:
            active = next((trial for trial in self._active.values() if trial.waiting), None)
            if active is not None:
                self._submit(executor, active, active.waiting.popleft())
            elif self._interrupted:
                trial = self._interrupted.popleft()
                self._see_environment(executor)
                self._runs.resume_trial(trial)
                self._take_up(executor, trial)
            elif (twin := next((trial for trial in self._twins if not self._is_at_work(trial)), None)) is not None:
                self._twins.remove(twin)
                self._take_up(executor, twin)
            elif self._optuna.next_number - self._uncounted >= limits.max_trials or time.monotonic() >= limits.deadline:
                return
            else:
                proposed = self._optuna.ask()
                if proposed is None:
                    self._progress.message("every point of the grid has been tried")
                    return
                self._start(executor, proposed)

    def _start(self, executor: Executor, record: TrialRecord) -> None:
        """Begin a proposed trial."""
        self._see_environment(executor)
        trial = self._runs.begin_trial(record)
        self.records[record.number] = record
        self._progress.trial_started(record)
        self._take_up(executor, trial)

    def _see_environment(self, executor: Executor) -> None:
        """Let what begins now be executed with the code that is there now, which is what its run says."""
        if self._runs.sees_another_environment():
            executor.renew()

    def _take_up(self, executor: Executor, trial: TrialRun) -> None:
        """Answer a trial from the record of a finished one with the same key, or set it to work.

        While a trial with the same key is at work, this one waits for it.
        """
        twin = next((r for r in self._answers(trial.record) if r.trial_key_hash == trial.record.trial_key_hash), None)
        if twin is not None:
            self._end_folds(trial, f"answered by trial {twin.number}")
            answer = {"state": twin.state, "value": twin.value, "folds": twin.folds, "failure": twin.failure}
            self._conclude(trial, {**answer, "answered_by": twin.number})
        elif self._is_at_work(trial):
            self._twins.append(trial)
        else:
            self._activate(executor, trial)

    def _is_at_work(self, trial: TrialRun) -> bool:
        """Tell whether folds of this trial's configuration are being trained."""
        key = trial.record.trial_key_hash
        return any(active.run.record.trial_key_hash == key for active in self._active.values())

    def _answers(self, asked: TrialRecord) -> Iterator[TrialRecord]:
        """Yield the trials whose result may stand for another: complete ones, pruned ones too where pruning is meant.

        A trial that failed says nothing about its configuration; the cause may be gone by now.
        """
        states = ("complete",) if asked.number in self._spared else ("complete", "pruned")
        own = (trial for trial in self.records.values() if trial.answered_by is None and not trial.imported_from)
        return (trial for trial in own if trial.state in states)

    def _activate(self, executor: Executor, trial: TrialRun) -> None:
        """Set a trial to work on the folds that it lacks; one that was cut short is first judged by those it has."""
        done = {index: fold for index, fold in trial.record.folds.items() if fold.metrics}
        waiting = deque(index for index in self._optuna.fold_order if index not in done)
        active = _ActiveTrial(trial, waiting, folds=dict(done))
        self._active[active.number] = active
        if done:
            self._judge(executor, active, hopeless=self._optuna.is_hopeless(active.number))

    def _submit(self, executor: Executor, active: _ActiveTrial, fold_idx: int) -> None:
        task = self._task(active.run.record, fold_idx)
        self._runs.begin_fold(active.run, fold_idx, task.key_hash)
        active.running.add(fold_idx)
        saved = self._project.context.checkpoint_enabled and read_result(task.paths.result, task.key_hash)
        if saved:  # by a process that outlived its driver: the pruner hears, and decides, what it would have
            if any(self.should_stop(task.task_id, step, metrics) for step, metrics in sorted(saved.curve.items())):
                self._end_pruned(executor, active, fold_idx)
            else:
                self._take_result(executor, active, fold_idx, saved)
        else:
            executor.submit(task.as_task())
            self._progress.fold_started(active.number, fold_idx)

    def _task(self, record: TrialRecord, fold_idx: int) -> TrainingTask:
        config = self._project.config
        return TrainingTask(
            task_id=f"{record.number}/{fold_idx}",
            key_hash=fold_key_hash(record.trial_key_hash, fold_idx),
            root_dir=config.root_dir,
            folder=self._project.paths.fold(record.number, fold_idx).folder,
            data=config.data,
            train=config.train,
            objective=self._objective,
            params=record.params,
            folds_file=self._project.paths.folds,
            fold_idx=fold_idx,
        )

    def _handle(self, executor: Executor, outcome: TaskOutcome) -> None:
        number, fold_idx = _numbers(outcome.task_id)
        active = self._active.get(number)
        if active is None:
            return  # a fold that was cancelled when its trial ended
        if outcome.state == "done":
            task = self._task(active.run.record, fold_idx)
            result = read_result(task.paths.result, task.key_hash)
            if result is not None:
                self._take_result(executor, active, fold_idx, result)
                return
            outcome = TaskOutcome(outcome.task_id, "failed", f"no result at {task.paths.result}")
        if outcome.has_no_room:
            raise OutputError(
                f"trial {number} fold {fold_idx} found no room to write: {outcome.message}; make room, and give the "
                "same command again, which goes on with this trial"
            )
        if outcome.state == "stopped":
            self._end_pruned(executor, active, fold_idx)
        else:
            log = self._project.paths.fold(number, fold_idx).log
            self._runs.keep_log(active.run, fold_idx, log)
            self._end(executor, active, fold_idx, "failed", f"fold {fold_idx}: {outcome.message} (log: {log})")

    def _take_result(self, executor: Executor, active: _ActiveTrial, fold_idx: int, result: TrainingResult) -> None:
        for objective in self._project.config.hpo.objectives:
            value = result.valid.get(objective.metric, float("nan"))
            if not isfinite(value):
                reason = f"fold {fold_idx}: {objective.metric} is {value}, which no trial can be judged by"
                self._end(executor, active, fold_idx, "failed", reason)
                return
        value = result.valid[self._objective.metric]
        metrics = {name: number for name, number in result.valid.items() if isfinite(number)}
        reported = active.folds.get(fold_idx, FoldRecord())
        fold = reported.model_copy(update={"metrics": metrics, "seconds": result.seconds})
        active.folds[fold_idx] = fold
        active.running.discard(fold_idx)
        self._runs.complete_fold(active.run, fold_idx, result, fold)
        self._progress.fold_finished(active.number, fold_idx, value, result.seconds)
        self._judge(executor, active, hopeless=self._optuna.should_stop_trial(active.number, fold_idx, value))

    def _judge(self, executor: Executor, active: _ActiveTrial, *, hopeless: bool) -> None:
        """End a trial that has all its folds, or that the fold pruner denies the rest."""
        if hopeless and (active.waiting or active.running) and active.number not in self._spared:
            whole = sum(bool(fold.metrics) for fold in active.folds.values())
            self._end(executor, active, None, "pruned", f"hopeless after {whole} fold{'' if whole == 1 else 's'}")
        elif not (active.waiting or active.running):
            del self._active[active.number]
            value = self._optuna.mean_value(active.folds)
            self._conclude(active.run, {"state": "complete", "value": value, "folds": active.folds})

    def _end(self, executor: Executor, active: _ActiveTrial, fold_idx: int | None, state: str, reason: str) -> None:
        """End a trial before its last fold: its other folds are cancelled, and their runs ended."""
        del self._active[active.number]
        for index in active.running - {fold_idx}:
            executor.cancel(f"{active.number}/{index}")
        active.run.record = active.run.record.model_copy(update={"folds": active.folds})
        self._end_folds(active.run, reason, fold_idx if state == "failed" else None)
        whole = {index: fold for index, fold in active.folds.items() if fold.metrics}
        value = self._optuna.mean_value(whole) if whole else None
        self._conclude(active.run, {"state": state, "value": value, "folds": active.folds, "failure": reason})

    def _end_pruned(self, executor: Executor, active: _ActiveTrial, fold_idx: int) -> None:
        """End a trial whose fold the pruner has stopped."""
        self._end(executor, active, fold_idx, "pruned", f"fold {fold_idx} was pruned")

    def _end_folds(self, trial: TrialRun, reason: str, failed_fold: int | None = None) -> None:
        """End the runs of a trial's folds that were begun and came to nothing."""
        for index in sorted(trial.fold_run_ids):
            if index not in trial.record.folds or not trial.record.folds[index].metrics:
                self._runs.end_fold(trial, index, reason, "FAILED" if index == failed_fold else "KILLED")

    def _conclude(self, trial: TrialRun, ending: Mapping[str, object]) -> None:
        """Tell the sampler how a trial ended, then write it."""
        for index in range(self._fold_count):  # what was cut short is gone on with no more
            shutil.rmtree(self._project.paths.fold(trial.record.number, index).checkpoints, ignore_errors=True)
        record = self._optuna.tell(trial.record.model_copy(update=ending))
        self.records[record.number] = trial.record = record
        self._runs.complete_trial(trial)
        self._progress.trial_finished(record, self.best)
        self._failures = self._failures + 1 if record.state == "failed" else 0
        if self._failures == FAILURES_IN_A_ROW and self.best is None:
            raise ExecutionError(
                f"the last {FAILURES_IN_A_ROW} trials failed and none ever completed, so no more are tried; "
                f"mend the cause and give the same command again: {record.failure}"
            )


def _origin(record: TrialRecord) -> tuple[str, str, float | None]:
    """Return what a trial from elsewhere is known by: storages of one name may have other trials of one number."""
    return record.imported_from, record.trial_key_hash, record.value


def _numbers(task_id: str) -> tuple[int, int]:
    number, fold_idx = task_id.split("/")
    return int(number), int(fold_idx)
