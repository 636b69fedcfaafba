"""Runs each task in a process of its own, forked from one warm parent that has imported the framework.

The parent is Python's forkserver: started once, with nothing of the driver's in it but the modules named in
`preload`, so a task starts in milliseconds and can crash alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pydantic import JsonValue

from infrastructure.errors import has_no_room, one_line
from infrastructure.executors.base import (
    Executor,
    OnReport,
    Task,
    TaskOutcome,
    TaskStoppedError,
    load_task_function,
)


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    outcome: TaskOutcome | None = None


class LocalExecutor(Executor):
    """Runs up to `capacity` tasks at a time, each in its own process with `environment` as its environment."""

    def __init__(
        self, capacity: int, on_report: OnReport, environment: Mapping[str, str], preload: Sequence[str] = ()
    ) -> None:
        super().__init__(capacity, on_report)
        self._environment = dict(environment)
        self._workers: dict[str, _Worker] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))

    @property
    def running(self) -> int:
        """How many processes there are."""
        return len(self._workers)

    def submit(self, task: Task) -> None:
        """Start a process for the task."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_run,
            args=(task.function, task.payload, task.log_path, theirs, self._environment),
            name=task.task_id,
            daemon=False,
        )
        with _main_module_hidden():
            process.start()
        theirs.close()
        self._workers[task.task_id] = _Worker(process, ours)

    def wait(self) -> list[TaskOutcome]:
        """Answer the reports of the tasks until at least one has ended."""
        while self._workers:
            ready = set(wait([worker.connection for worker in self._workers.values()]))
            ended: list[TaskOutcome] = []
            for task_id, worker in list(self._workers.items()):
                if worker.connection in ready and not self._serve(task_id, worker):
                    ended.append(self._collect(task_id, worker))
            if ended:
                return ended
        return []

    def _serve(self, task_id: str, worker: _Worker) -> bool:
        """Handle one message of a worker; False when there will be no more."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return False
        if isinstance(message, TaskOutcome):
            worker.outcome = message
            return True
        step, metrics = message
        stop = self._on_report(task_id, step, metrics)
        try:
            worker.connection.send(stop)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _collect(self, task_id: str, worker: _Worker) -> TaskOutcome:
        worker.process.join()
        worker.connection.close()
        del self._workers[task_id]
        return worker.outcome or TaskOutcome(task_id, "died", _cause(worker.process.exitcode))

    def cancel(self, task_id: str) -> None:
        """Kill the task's process."""
        worker = self._workers.get(task_id)
        if worker is not None and worker.outcome is None:
            worker.outcome = TaskOutcome(task_id, "stopped")
            worker.process.kill()

    def close(self) -> None:
        """Kill every process that still runs."""
        for task_id in list(self._workers):
            self.cancel(task_id)
        for task_id, worker in list(self._workers.items()):
            self._collect(task_id, worker)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (often the system's answer to too little memory)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with code {exit_code} without a word"


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in the child; a task needs nothing of it."""
    main = sys.modules["__main__"]
    kept: dict[str, object] = {
        name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
    }
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(kept)


def _run(
    function: str,
    payload: Mapping[str, JsonValue],
    log_path: Path,
    connection: Connection,
    environment: Mapping[str, str],
) -> None:
    """Run one task in this process and tell the driver how it ended; everything that it prints goes to its log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    os.environ.clear()
    os.environ.update(environment)

    def report(step: int, metrics: Mapping[str, float]) -> None:
        connection.send((step, dict(metrics)))
        if connection.recv():
            raise TaskStoppedError

    task_id = multiprocessing.current_process().name
    try:
        _print_to(log_path)
        load_task_function(function)(payload, report)
        outcome = TaskOutcome(task_id, "done")
    except TaskStoppedError:
        outcome = TaskOutcome(task_id, "stopped")
    except Exception as error:  # noqa: BLE001  the worker boundary: any error of a task is its outcome
        with suppress(OSError):
            traceback.print_exc()
        outcome = TaskOutcome(task_id, "failed", one_line(error), has_no_room(error))
    with suppress(OSError):  # a log that can't be written takes no result away
        sys.stdout.flush()
        sys.stderr.flush()
    connection.send(outcome)
    connection.close()


def _print_to(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
