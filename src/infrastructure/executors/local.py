"""Runs each task in a process of its own, forked from one warm parent that has imported the framework.

The parent is a forkserver of Python's, one for each `preload`: started once, with nothing of the driver's in it but the
modules named there, so a task starts in milliseconds and can crash alone. Each task holds the end of a pipe of the
driver's: when that closes, the driver is gone, however it went, and the task ends too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from infrastructure.errors import has_no_room
from infrastructure.executors.base import (
    ENDED,
    GRACE,
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
from infrastructure.redaction import redact_file, redact_output, remember_credentials

VMSTAT: Final = Path("/proc/vmstat")
"""Where Linux counts, among others, the processes that it killed for want of memory."""


_parents: dict[tuple[str, ...], forkserver.ForkServer] = {}
"""The warm parents of this process, by the modules that they have imported."""


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    lifeline: Connection
    log_path: Path
    oom_kills: int
    is_asking: bool = False
    outcome: TaskOutcome | None = None


class LocalExecutor(Executor):
    """Runs up to `capacity` tasks at a time, each in its own process with `environment` as its environment."""

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
        self._workers: dict[str, _Worker] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._parent = _parents.setdefault(tuple(preload), forkserver.ForkServer())
        self._parent.set_forkserver_preload(list(preload))

    def _start(self, task: Task) -> None:
        ours, theirs = self._context.Pipe()
        lifeline_end, lifeline = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_run,
            args=(task.function, task.payload, task.log_path, theirs, lifeline_end, self._environment),
            name=task.task_id,
            daemon=False,
        )
        with _main_module_hidden(), _forked_from(self._parent):
            process.start()
        theirs.close()
        lifeline_end.close()
        self._workers[task.task_id] = _Worker(process, ours, lifeline, task.log_path, _oom_kills())

    def _wait(self) -> list[TaskOutcome]:
        """Answer the reports of the tasks until at least one has ended."""
        ended: list[TaskOutcome] = []
        while not ended:
            ended = self._serve_ready(None, self._on_report)
        return ended

    def _serve_ready(self, timeout: float | None, on_report: OnReport) -> list[TaskOutcome]:
        """Answer the tasks that have something to say, waiting for `timeout` seconds, and return those that ended."""
        ready = set(wait([worker.connection for worker in self._workers.values()], timeout))
        return [
            self._collect(task_id, worker)
            for task_id, worker in list(self._workers.items())
            if worker.connection in ready and not self._serve(task_id, worker, on_report)
        ]

    def _serve(self, task_id: str, worker: _Worker, on_report: OnReport) -> bool:
        """Handle one message of a worker; False when there will be no more."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return False
        if isinstance(message, TaskOutcome):
            worker.outcome = message
            return True
        step, metrics = message
        worker.is_asking = True
        return self._answer(worker, stop=on_report(task_id, step, metrics))

    def _answer(self, worker: _Worker, *, stop: bool) -> bool:
        """Answer a worker's report; False when nobody hears it."""
        worker.is_asking = False
        try:
            worker.connection.send(stop)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _collect(self, task_id: str, worker: _Worker) -> TaskOutcome:
        worker.process.join(GRACE)  # a thread that the task left behind would keep it
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        worker.lifeline.close()
        redact_file(worker.log_path)  # of what other programs printed there; a dead process couldn't
        del self._workers[task_id]
        was_oom_killed = _oom_kills() > worker.oom_kills
        cause = _cause(worker.process.exitcode, was_oom_killed=was_oom_killed)
        return worker.outcome or TaskOutcome(task_id, "died", cause)

    def cancel(self, task_id: str) -> None:
        """Kill the task's process."""
        worker = self._workers.get(task_id)
        if worker is not None and worker.outcome is None:
            worker.outcome = TaskOutcome(task_id, "stopped")
            worker.process.kill()

    def close(self) -> None:
        """Ask every process that still runs to end; kill those that haven't in time."""
        try:
            deadline = time.monotonic() + GRACE
            for worker in self._workers.values():
                worker.process.terminate()
                if worker.is_asking:
                    self._answer(worker, stop=False)
            while self._workers and (left := deadline - time.monotonic()) > 0:
                self._serve_ready(left, _go_on)
        finally:  # a second signal finds nothing to wait for
            for task_id, worker in list(self._workers.items()):
                worker.process.kill()
                self._collect(task_id, worker)
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


def _run(
    function: str,
    payload: Mapping[str, JsonValue],
    log_path: Path,
    connection: Connection,
    lifeline: Connection,
    environment: Mapping[str, str],
) -> None:
    """Run one task in this process and tell the driver how it ended; everything that it prints goes to its log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    os.register_at_fork(
        after_in_child=connection.close
    )  # the driver hears of this process's death, not of its children's
    threading.Thread(target=_end_with_driver, args=(lifeline,), name="lifeline", daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    remember_credentials(payload)

    def report(step: int, metrics: Mapping[str, float]) -> None:
        stop = False
        with suppress(EOFError, OSError):  # the driver is gone, and the lifeline says so too
            connection.send((step, dict(metrics)))
            stop = connection.recv()
        if stop:
            raise TaskStoppedError

    task_id = multiprocessing.current_process().name
    try:
        _print_to(log_path)
        load_task_function(function)(payload, report)
        outcome = TaskOutcome(task_id, "done")
    except TaskStoppedError:
        outcome = TaskOutcome(task_id, "stopped")
    except SystemExit as end:
        outcome = TaskOutcome(task_id, "failed", exit_message(end))
    except Exception as error:  # noqa: BLE001  the worker boundary: any error of a task is its outcome
        with suppress(OSError):
            traceback.print_exc()
        outcome = TaskOutcome(task_id, "failed", failure(error), has_no_room(error))
    with suppress(OSError):  # a log that can't be written takes no result away
        sys.stdout.flush()
        sys.stderr.flush()
    with suppress(OSError):
        connection.send(outcome)
    connection.close()


def _end_with_driver(lifeline: Connection) -> None:
    """Wait until the driver is gone, and let this process end as if it had been told to."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(ENDED)


def _print_to(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    redact_output()
