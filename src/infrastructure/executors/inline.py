"""Runs tasks one after another in this very process: for debugging, and as the plainest form of the contract."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from infrastructure.errors import has_no_room
from infrastructure.executors.base import (
    Executor,
    OnReport,
    OnRetry,
    Task,
    TaskOutcome,
    TaskStoppedError,
    exit_message,
    failure,
    load_task_function,
)


class InlineExecutor(Executor):
    """Runs a task inside `wait`; an error in it is an outcome, but a crash takes this process along."""

    def __init__(self, on_report: OnReport, on_retry: OnRetry) -> None:
        super().__init__(1, on_report, on_retry)
        self._waiting: deque[Task] = deque()
        self._cancelled: list[TaskOutcome] = []

    def _start(self, task: Task) -> None:
        self._waiting.append(task)

    def _wait(self) -> list[TaskOutcome]:
        """Run the oldest task to its end."""
        if self._cancelled:
            ended, self._cancelled = self._cancelled, []
            return ended
        return [self._run(self._waiting.popleft())]

    def _run(self, task: Task) -> TaskOutcome:
        def report(step: int, metrics: Mapping[str, float]) -> None:
            if self._on_report(task.task_id, step, metrics):
                raise TaskStoppedError

        try:
            load_task_function(task.function)(task.payload, report)
        except TaskStoppedError:
            return TaskOutcome(task.task_id, "stopped")
        except SystemExit as end:
            return TaskOutcome(task.task_id, "failed", exit_message(end))
        except Exception as error:  # noqa: BLE001  the worker boundary: any error of a task is its outcome
            return TaskOutcome(task.task_id, "failed", failure(error), has_no_room(error))
        return TaskOutcome(task.task_id, "done")

    def cancel(self, task_id: str) -> None:
        """Drop a task that hasn't begun."""
        for task in [task for task in self._waiting if task.task_id == task_id]:
            self._waiting.remove(task)
            self._cancelled.append(TaskOutcome(task_id, "stopped"))

    def renew(self) -> None:
        """Do nothing: this process is its caller's."""

    def close(self) -> None:
        """Drop what hasn't begun."""
        self._waiting.clear()
        self._cancelled.clear()
        self._tasks.clear()
