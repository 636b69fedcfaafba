"""Runs each task in a process of its own, forked from one warm parent that has imported the framework.

The parent is a forkserver of Python's, one for each `preload`: started once, with nothing of the driver's in it but the
modules named there, so a task starts in milliseconds and can crash alone. A process whose task left nothing behind
takes another one (docs/decisions/0012). Its side of the pipe is in `infrastructure/executors/worker.py`.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from infrastructure.executors.base import GRACE, Executor, OnReport, OnRetry, Task, TaskOutcome
from infrastructure.executors.worker import Ended, serve
from infrastructure.redaction import redact_file

VMSTAT: Final = Path("/proc/vmstat")
"""Where Linux counts, among others, the processes that it killed for want of memory."""


_parents: dict[tuple[str, ...], forkserver.ForkServer] = {}
"""The warm parents of this process, by the modules that they have imported."""


@dataclass(frozen=True)
class _Worker:
    process: ForkServerProcess
    connection: Connection
    lifeline: Connection

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.lifeline.close()


@dataclass
class _Running:
    """A task in its process."""

    worker: _Worker
    log_path: Path
    oom_kills: int
    is_asking: bool = False
    is_last: bool = False
    outcome: TaskOutcome | None = None


class LocalExecutor(Executor):
    """Runs up to `capacity` tasks at a time, each in a process that has `environment` as its environment."""

    def __init__(
        self,
        capacity: int,
        on_report: OnReport,
        on_retry: OnRetry,
        environment: Mapping[str, str],
        preload: Sequence[str] = (),
    ) -> None:
        super().__init__(capacity, on_report, on_retry)
        self._environment = dict(environment)
        self._running: dict[str, _Running] = {}
        self._idle: list[_Worker] = []
        self._context = multiprocessing.get_context("forkserver")
        self._parent = warm_parent(preload)

    def _start(self, task: Task) -> None:
        oom_kills = _oom_kills()
        self._running[task.task_id] = _Running(self._given(task), task.log_path, oom_kills)

    def _given(self, task: Task) -> _Worker:
        """Give the task to a process that is idle, or to a new one."""
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.connection.send(task)
            except (BrokenPipeError, ConnectionResetError):  # it was killed while it had nothing to do
                worker.kill()
            else:
                return worker
        worker = self._forked()
        with suppress(BrokenPipeError, ConnectionResetError):  # it is found to be dead next
            worker.connection.send(task)
        return worker

    def _forked(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        lifeline_end, lifeline = self._context.Pipe(duplex=False)
        process = self._context.Process(target=serve, args=(theirs, lifeline_end, self._environment), daemon=False)
        with _main_module_hidden(), _forked_from(self._parent):
            process.start()
        theirs.close()
        lifeline_end.close()
        return _Worker(process, ours, lifeline)

    def _wait(self) -> list[TaskOutcome]:
        """Answer the reports of the tasks until at least one has ended."""
        ended: list[TaskOutcome] = []
        while not ended:
            ended = self._serve_ready(None, self._on_report)
        return ended

    def _serve_ready(self, timeout: float | None, on_report: OnReport) -> list[TaskOutcome]:
        """Answer the tasks that have something to say, waiting for `timeout` seconds, and return those that ended."""
        ready = set(wait([running.worker.connection for running in self._running.values()], timeout))
        served = [
            self._serve(task_id, running, on_report)
            for task_id, running in list(self._running.items())
            if running.worker.connection in ready
        ]
        return [outcome for outcome in served if outcome is not None]

    def _serve(self, task_id: str, running: _Running, on_report: OnReport) -> TaskOutcome | None:
        """Handle one message of a task, and return its outcome when there will be no more."""
        try:
            message = running.worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._collect(task_id, running)
        if not isinstance(message, Ended):
            step, metrics = message
            running.is_asking = True
            self._answer(running, stop=on_report(task_id, step, metrics))
            return None
        if running.outcome is None:  # it wasn't cancelled
            running.outcome = message.outcome
            if message.takes_another:
                if running.is_last:
                    running.worker.kill()
                else:
                    self._idle.append(running.worker)
                return self._ended(task_id, running.outcome)
        return None

    def _answer(self, running: _Running, *, stop: bool) -> None:
        """Answer a task's report; if nobody hears it, its process is found to be dead next."""
        running.is_asking = False
        with suppress(BrokenPipeError, ConnectionResetError):
            running.worker.connection.send(stop)

    def _collect(self, task_id: str, running: _Running) -> TaskOutcome:
        """Take in a task whose process says no more."""
        process = running.worker.process
        process.join(GRACE)  # a thread that the task left behind would keep it
        running.worker.kill()
        was_oom_killed = _oom_kills() > running.oom_kills
        cause = _cause(process.exitcode, was_oom_killed=was_oom_killed)
        return self._ended(task_id, running.outcome or TaskOutcome(task_id, "died", cause))

    def _ended(self, task_id: str, outcome: TaskOutcome) -> TaskOutcome:
        redact_file(self._running.pop(task_id).log_path)  # of what other programs printed there
        return outcome

    def cancel(self, task_id: str) -> None:
        """Kill the task's process."""
        running = self._running.get(task_id)
        if running is not None and running.outcome is None:
            running.outcome = TaskOutcome(task_id, "stopped")
            running.worker.process.kill()

    def renew(self) -> None:
        """Let no process that there is take another task."""
        while self._idle:  # they have nothing to save
            self._idle.pop().kill()
        for running in self._running.values():
            running.is_last = True

    def close(self) -> None:
        """Ask every process that still runs to end; kill those that haven't in time."""
        try:
            deadline = time.monotonic() + GRACE
            for running in self._running.values():
                running.worker.process.terminate()
                if running.is_asking:
                    self._answer(running, stop=False)
            while self._running and (left := deadline - time.monotonic()) > 0:
                self._serve_ready(left, _go_on)
        finally:  # a second signal finds nothing to wait for
            for task_id, running in list(self._running.items()):
                running.worker.process.kill()
                self._collect(task_id, running)
            self.renew()
            self._tasks.clear()


def _go_on(task_id: str, step: int, metrics: Mapping[str, float]) -> bool:  # noqa: ARG001  OnReport's signature
    """Answer a task that is about to end; what it reports is in what it saves."""
    return False


def _oom_kills() -> int:
    """Return how many processes Linux has killed since it started because memory was short; 0 where it doesn't say."""
    with suppress(OSError):
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _cause(exit_code: int | None, *, was_oom_killed: bool) -> str:
    if exit_code is not None and exit_code < 0:
        if exit_code == -signal.SIGKILL and was_oom_killed:
            return "the system was out of memory and killed the process; let it need less, or run fewer at a time"
        return f"the process was ended by {signal.Signals(-exit_code).name}"
    return f"the process ended with code {exit_code} without a word"


def warm_parent(preload: Sequence[str]) -> forkserver.ForkServer:
    """Return the parent that has imported these modules; if it isn't there yet, it begins now and imports them."""
    parent = _parents.setdefault(tuple(preload), forkserver.ForkServer())
    parent.set_forkserver_preload(list(preload))
    with _main_module_hidden():
        parent.ensure_running()
    return parent


@contextmanager
def _forked_from(parent: forkserver.ForkServer) -> Iterator[None]:
    """Let multiprocessing fork from this parent; by itself it has a single one, with what its first user preloaded."""
    usual = forkserver.connect_to_new_process
    forkserver.connect_to_new_process = parent.connect_to_new_process
    try:
        yield
    finally:
        forkserver.connect_to_new_process = usual


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
