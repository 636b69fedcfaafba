"""The process that runs tasks for a local executor, one after another: what happens on its side of the pipe.

A task begins in the state that the process had before its first one: environment, working folder, import path, signals.
See docs/decisions/0012.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from infrastructure.errors import has_no_room
from infrastructure.executors.base import (
    ENDED,
    GRACE,
    Task,
    TaskOutcome,
    TaskStoppedError,
    exit_message,
    failure,
    load_task_function,
)
from infrastructure.redaction import redact_output, remember_credentials


@dataclass(frozen=True)
class Ended:
    """What a process says last of a task; `takes_another` if the task left nothing behind."""

    outcome: TaskOutcome
    takes_another: bool


def serve(connection: Connection, lifeline: Connection, environment: Mapping[str, str]) -> None:
    """Run the tasks that come over `connection`, until the driver is gone or a task has left something behind.

    `lifeline` is the end of a pipe of the driver's: when that closes, the driver is gone, however it went, and the
    process ends too, the task that it runs included.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    os.register_at_fork(after_in_child=connection.close)  # the driver hears of this process's death, not its children's
    threading.Thread(target=_end_with_driver, args=(lifeline,), name="lifeline", daemon=True).start()
    gc.freeze()  # what the parent has imported is no garbage, and looking through it copies it
    folder, import_path, threads = Path.cwd(), list(sys.path), set(threading.enumerate())
    while (task := _next_task(connection)) is not None:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = import_path
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        outcome = _run(task, connection)
        is_whole = outcome.state in ("done", "stopped") and threads.issuperset(threading.enumerate())
        ended = Ended(outcome, takes_another=is_whole and not _has_children())
        with suppress(OSError):
            connection.send(ended)
        if not ended.takes_another:
            break
        gc.collect()  # a model that is in a cycle of references would take the room of the next one
    connection.close()


def _next_task(connection: Connection) -> Task | None:
    try:
        task: Task = connection.recv()
    except (EOFError, OSError):
        return None
    return task


def _run(task: Task, connection: Connection) -> TaskOutcome:
    """Run one task; everything that it prints goes to its log."""
    remember_credentials(task.payload)

    def report(step: int, metrics: Mapping[str, float]) -> None:
        stop = False
        with suppress(EOFError, OSError):  # the driver is gone, and the lifeline says so too
            connection.send((step, dict(metrics)))
            stop = connection.recv()
        if stop:
            raise TaskStoppedError

    try:
        _print_to(task.log_path)
        load_task_function(task.function)(task.payload, report)
        outcome = TaskOutcome(task.task_id, "done")
    except TaskStoppedError:
        outcome = TaskOutcome(task.task_id, "stopped")
    except SystemExit as end:
        outcome = TaskOutcome(task.task_id, "failed", exit_message(end))
    except Exception as error:  # noqa: BLE001  the worker boundary: any error of a task is its outcome
        with suppress(OSError):
            traceback.print_exc()
        outcome = TaskOutcome(task.task_id, "failed", failure(error), has_no_room(error))
    with suppress(OSError):  # a log that can't be written takes no result away
        sys.stdout.flush()
        sys.stderr.flush()
    return outcome


def _has_children() -> bool:
    """Tell whether the task left processes behind."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


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
