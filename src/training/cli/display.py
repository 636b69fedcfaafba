"""What a person sees of a study while it runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from training.hpo.execution.progress import Progress
from training.hpo.execution.results import StudyResult
from training.hpo.records import TrialRecord, objective_values


def show_params(record: TrialRecord) -> str:
    """Return a trial's hyperparameters on one line, floats to four digits."""
    return "  ".join(f"{name}={_short(value)}" for name, value in record.params.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time as people say it: `40 s`, `12 min`, `3.5 h`."""
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


class LineProgress(Progress):
    """One line for each thing that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._opened = time.monotonic()
        self._ended = self._left = 0

    def message(self, text: str) -> None:
        """Print one line with the seconds since the start."""
        self._console.print(self.line(text), markup=False, highlight=False, soft_wrap=True)

    def line(self, text: str) -> str:
        """Return a text with the seconds since the start before it."""
        return f"[{time.monotonic() - self._started:6.1f}s] {text}"

    def study_opened(self, name: str, done: Sequence[TrialRecord], max_trials: int, fold_count: int) -> None:
        """Say what there is and what there will be."""
        self._opened, self._ended = time.monotonic(), 0
        self._left = max(0, max_trials - len(done))
        self.message(f"study {name}: {len(done)} of {max_trials} trials done, {fold_count} fold(s) each")

    def trial_started(self, record: TrialRecord) -> None:
        """Say what was proposed."""
        self.message(f"trial {record.number}: {show_params(record)}")

    def fold_finished(self, number: int, fold_idx: int, value: float, seconds: float) -> None:
        """Say what came of a fold."""
        self.message(f"trial {number} fold {fold_idx}: {value:.4f} in {seconds:.1f} s")

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Say how a trial ended, which is the best, and how long the rest takes if it is like what was."""
        self._ended, self._left = self._ended + 1, self._left - 1
        outcome = "" if record.value is None else f" {record.value:.4f}"
        reused = "" if record.answered_by is None else f", answered by trial {record.answered_by}"
        reason = f", {record.failure}" if record.failure else ""
        leader = "" if best is None or best.value is None else f"; best: trial {best.number} {best.value:.4f}"
        self.message(f"trial {record.number} {record.state}{outcome}{reused}{reason}{leader}{self._time_left()}")

    def _time_left(self) -> str:
        if self._left <= 0:
            return ""
        seconds = (time.monotonic() - self._opened) / self._ended * self._left
        return f"; about {duration(seconds)} left"

    def training_started(self, what: str) -> None:
        """Say what is being trained."""
        self.message(what)


class LiveProgress(LineProgress):
    """Bars for the study and for each fold that runs, with the lines above them."""

    def __init__(self, console: Console, bar: Bar) -> None:
        super().__init__(console)
        self._bar = bar
        self._trials: TaskID | None = None
        self._folds: dict[tuple[int, int], TaskID] = {}

    def study_opened(self, name: str, done: Sequence[TrialRecord], max_trials: int, fold_count: int) -> None:
        """Add the study's bar."""
        super().study_opened(name, done, max_trials, fold_count)
        self._trials = self._bar.add_task("", total=max_trials, completed=len(done))
        self._count_trials(self._trials)

    def fold_started(self, number: int, fold_idx: int) -> None:
        """Add a fold's bar."""
        self._folds[number, fold_idx] = self._bar.add_task(f"trial {number} fold {fold_idx}", total=None)

    def fold_reported(self, number: int, fold_idx: int, step: int, value: float) -> None:
        """Show a fold's objective after its last step."""
        task = self._folds.get((number, fold_idx))
        if task is not None:
            text = f"trial {number} fold {fold_idx}: {value:.4f} after step {step}"
            self._bar.update(task, description=text)

    def fold_finished(self, number: int, fold_idx: int, value: float, seconds: float) -> None:
        """Replace a fold's bar by its line."""
        self._remove(number, fold_idx)
        super().fold_finished(number, fold_idx, value, seconds)

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Count the trial."""
        for number, fold_idx in [key for key in self._folds if key[0] == record.number]:
            self._remove(number, fold_idx)
        if self._trials is not None:
            self._bar.advance(self._trials)
            self._count_trials(self._trials)
        super().trial_finished(record, best)

    def _count_trials(self, bar: TaskID) -> None:
        task = self._bar.tasks[self._bar.task_ids.index(bar)]
        self._bar.update(bar, description=f"trials {task.completed:.0f}/{task.total:.0f}")

    def _remove(self, number: int, fold_idx: int) -> None:
        task = self._folds.pop((number, fold_idx), None)
        if task is not None:
            self._bar.remove_task(task)


def live_bars(console: Console) -> Bar:
    """Return the bars of the live display, which go when it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Bar(*columns, console=console, transient=True)


@contextmanager
def progress_on(console: Console, *, quiet: bool = False) -> Iterator[Progress]:
    """Yield the display that fits the console; one that shows nothing if it is to be quiet."""
    if quiet:
        yield Progress()
        return
    if not console.is_terminal:
        yield LineProgress(console)
        return
    with live_bars(console) as bar:
        yield LiveProgress(console, bar)


def leaderboard(result: StudyResult, rows: int = 10) -> Table:
    """Return the best trials as a table."""
    metric = result.objective.metric
    goals = "; ".join(f"{objective.metric}, {objective.direction}" for objective in result.objectives)
    has_front = len(result.objectives) > 1
    table = Table(title=f"{result.name}: {goals}{'; the Pareto front' if has_front else ''}")
    for heading in ("trial", *(objective.metric for objective in result.objectives), "folds", "hyperparameters"):
        table.add_column(heading)
    for record in (result.pareto_front() if has_front else result.leaderboard())[:rows]:
        means = [f"{value:.4f}" for value in objective_values(record, result.objectives)]
        values = " ".join(f"{record.folds[i].metrics[metric]:.3f}" for i in sorted(record.folds))
        chosen = " (best)" if has_front and record == result.best else ""
        table.add_row(f"{record.number}{chosen}", *means, values, show_params(record))
    return table
