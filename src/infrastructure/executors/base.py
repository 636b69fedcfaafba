"""The contract that every executor keeps.

A task is a function by import path and a JSON payload; what came of it, the function itself writes to files. An
executor belongs to one thread: `submit`, `wait`, `cancel` and `close` are called by its owner, and the owner's
`on_report` runs inside `wait`, so that a decision to stop is made before the task goes on.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import JsonValue

TaskReport = Callable[[int, Mapping[str, float]], None]
TaskFunction = Callable[[Mapping[str, JsonValue], TaskReport], None]
OnReport = Callable[[str, int, Mapping[str, float]], bool]
"""Told the task, the step and the metrics; returns whether the task is to stop."""


class TaskStoppedError(Exception):
    """Raised by `report` inside a task that is to stop; the task lets it pass."""


@dataclass(frozen=True)
class Task:
    """One piece of work: `function` is `module:callable`, called with the payload and a `report`."""

    task_id: str
    function: str
    payload: Mapping[str, JsonValue]
    log_path: Path


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

    def __init__(self, capacity: int, on_report: OnReport) -> None:
        self.capacity = capacity
        self._on_report = on_report

    @property
    @abstractmethod
    def running(self) -> int:
        """How many tasks were submitted and haven't been returned by `wait`."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Take a task; call only while `running` is below `capacity`."""

    @abstractmethod
    def wait(self) -> list[TaskOutcome]:
        """Block until at least one task has ended, and return those that have; empty if none is running."""

    @abstractmethod
    def cancel(self, task_id: str) -> None:
        """End a task at once; `wait` returns it as stopped, unless it had ended before."""

    @abstractmethod
    def close(self) -> None:
        """End everything that still runs."""

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
