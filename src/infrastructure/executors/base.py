"""The contract that every executor keeps.

A task is a function by import path and a JSON payload; what came of it, the function itself writes to files below the
task's folder, which outlives the task wherever it ran. An executor belongs to one thread: `submit`, `wait`, `cancel`
and `close` are called by its owner, and the owner's `on_report` and `on_retry` run inside `wait`, so that a decision to
stop is made before the task goes on.

A task whose process dies is begun again, `max_retries` times. One that is to end (SIGTERM) may save what it has first;
so does one whose driver is gone.
"""

from __future__ import annotations

import importlib
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import JsonValue

from infrastructure.errors import one_line
from infrastructure.paths.layout import TaskPaths

TaskReport = Callable[[int, Mapping[str, float]], None]
TaskFunction = Callable[[Mapping[str, JsonValue], TaskReport], None]
OnReport = Callable[[str, int, Mapping[str, float]], bool]
"""Told the task, the step and the metrics; returns whether the task is to stop."""
OnRetry = Callable[[str, str], None]
"""Told the task that is begun again, and what its process died of."""

GRACE: Final = 4.0
"""Seconds that tasks have to save what they have when they are to end."""
ENDED: Final = 128 + signal.SIGTERM
"""The exit code of a process that was told to end, and has saved what it had."""


class TaskStoppedError(Exception):
    """Raised by `report` inside a task that is to stop; the task lets it pass."""


@dataclass(frozen=True)
class Task:
    """One piece of work: `function` is `module:callable`, called with the payload and a `report`."""

    task_id: str
    function: str
    payload: Mapping[str, JsonValue]
    folder: Path
    max_retries: int = 0

    @property
    def log_path(self) -> Path:
        """Where what the task prints goes."""
        return TaskPaths(self.folder).log


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: it returned, it was stopped, it raised, or its process died; `message` says why.

    With `has_no_room` it failed because a disk was full, which is no fault of the task.
    """

    task_id: str
    state: Literal["done", "stopped", "failed", "died"]
    message: str = ""
    has_no_room: bool = False


class Executor(ABC):
    """Runs up to `capacity` tasks at a time."""

    def __init__(self, capacity: int, on_report: OnReport, on_retry: OnRetry) -> None:
        self.capacity = capacity
        self._on_report = on_report
        self._on_retry = on_retry
        self._tasks: dict[str, Task] = {}
        self._deaths: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """How many tasks were submitted and haven't been returned by `wait`."""
        return len(self._tasks)

    def submit(self, task: Task) -> None:
        """Take a task; call only while `running` is below `capacity`."""
        self._tasks[task.task_id] = task
        self._start(task)

    def wait(self) -> list[TaskOutcome]:
        """Block until at least one task has ended for good, and return those that have; empty if none is running."""
        ended: list[TaskOutcome] = []
        while self._tasks and not ended:
            ended = [self._taken_off(outcome) for outcome in self._wait() if not self._is_begun_again(outcome)]
        return ended

    def _is_begun_again(self, outcome: TaskOutcome) -> bool:
        task = self._tasks[outcome.task_id]
        if outcome.state != "died" or self._deaths[task.task_id] >= task.max_retries:
            return False
        self._deaths[task.task_id] += 1
        self._on_retry(task.task_id, outcome.message)
        self._start(task)
        return True

    def _taken_off(self, outcome: TaskOutcome) -> TaskOutcome:
        del self._tasks[outcome.task_id]
        deaths = self._deaths.pop(outcome.task_id, 0)
        if outcome.state == "died" and deaths:
            return replace(outcome, message=f"{outcome.message} ({deaths + 1} attempts)")
        return outcome

    @abstractmethod
    def _start(self, task: Task) -> None:
        """Begin a task."""

    @abstractmethod
    def _wait(self) -> list[TaskOutcome]:
        """Block until at least one of the tasks that were begun has ended, and return those that have."""

    @abstractmethod
    def cancel(self, task_id: str) -> None:
        """End a task at once; `wait` returns it as stopped, unless it had ended before."""

    @abstractmethod
    def renew(self) -> None:
        """Begin further tasks with nothing that earlier ones have imported, where processes are the executor's own."""

    @abstractmethod
    def close(self) -> None:
        """Let everything that still runs save what it has, and end it, within `GRACE` seconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_task_function(path: str) -> TaskFunction:
    """Return the function at `module:callable`."""
    module, _, name = path.partition(":")
    function: TaskFunction = getattr(importlib.import_module(module), name)
    return function


def exit_message(end: SystemExit) -> str:
    """Return why a task failed that called `sys.exit`; raise it again if the process was told to end."""
    if end.code == ENDED:
        raise end
    return f"the task called sys.exit({end.code!r})"


def failure(error: Exception) -> str:
    """Return why a task failed, in one line; too little memory is told as such, whoever noticed it."""
    shortage = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # PyTorch's own
    return f"out of memory: {one_line(error)}" if shortage else one_line(error)
