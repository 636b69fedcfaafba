"""Runs each task on a node of a Ray cluster that has room for it.

Ray moves work and files; which attempt at a task counts, how often it is begun again, and what is written on the
driver's machine is decided here. On the nodes nothing is needed but the same packages: neither the files nor the
tracking store.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infrastructure.errors import ExecutionError, has_no_room, one_line
from infrastructure.executors.base import GRACE, Executor, OnReport, OnRetry, Task, TaskOutcome
from infrastructure.executors.ray_node import Attempt, Mailbox, Order, Report, run_attempt, versions_here
from infrastructure.executors.shipping import Shipment, Shipper, read_files, replace_folder
from infrastructure.redaction import redact_file

_log = logging.getLogger(__name__)

CALLS_AT_ONCE: Final = 1_000_000
"""How many calls of the mailbox may be waiting: two for each task that runs."""
CONNECT: Final = 10.0
"""Seconds that a cluster has to answer."""


@dataclass(frozen=True)
class Resources:
    """What one task takes of a node: processors, graphics processors, and whatever else the cluster counts."""

    cpu: float
    gpu: float
    custom: Mapping[str, float]


@dataclass(frozen=True)
class _Running:
    task: Task
    attempt_id: str
    ref: Any


class RayExecutor(Executor):
    """Runs up to `capacity` tasks at a time on the cluster at `address`, or on one of its own on this machine.

    `reads` returns the files and folders that tasks read; it is asked at the beginning and after `renew`. Raises
    ExecutionError if there is no such cluster, or if it has no room for these files.
    """

    def __init__(  # noqa: PLR0913, PLR0917  what a cluster needs to be told
        self,
        capacity: int,
        on_report: OnReport,
        on_retry: OnRetry,
        address: str | None,
        resources: Resources,
        reads: Callable[[], Iterable[Path]],
        preload: Sequence[str] = (),
    ) -> None:
        super().__init__(capacity, on_report, on_retry)
        connect(address)
        self._options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "resources": dict(resources.custom)}
        _warn_if_too_much({"CPU": resources.cpu, "GPU": resources.gpu, **resources.custom})
        self._reads = reads
        self._preload = tuple(preload)
        self._versions = versions_here()
        self._shipper = Shipper()
        self._shipment = self._shipped()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=CALLS_AT_ONCE, scheduling_strategy=here)
        self._mailbox: Any = mailbox.remote()
        self._reports: Any = self._mailbox.take.remote({})
        self._running: dict[str, _Running] = {}
        self._cancelled: list[TaskOutcome] = []

    def _start(self, task: Task) -> None:
        attempt = Attempt(uuid.uuid4().hex, task, self._preload, self._versions)
        function: Any = run_attempt.options(name=f"task {task.task_id}", **self._options)
        ref = function.remote(attempt, self._shipment, read_files(task.folder), self._mailbox)
        self._running[task.task_id] = _Running(task, attempt.attempt_id, ref)

    def _wait(self) -> list[TaskOutcome]:
        """Answer the reports of the tasks until at least one has ended."""
        ended, self._cancelled = self._cancelled, []
        while not ended:
            ended = self._serve_ready(None, self._on_report)
        return ended

    def _serve_ready(self, timeout: float | None, on_report: OnReport) -> list[TaskOutcome]:
        """Answer what was reported, waiting for `timeout` seconds, and return the outcomes of the tasks that ended."""
        refs = [self._reports, *(running.ref for running in self._running.values())]
        ready, _ = ray.wait(refs, num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        if self._reports in ready:
            self._answer(ray.get(self._reports), on_report)
        there = set(ready)
        return [self._collect(running) for running in list(self._running.values()) if running.ref in there]

    def _answer(self, reports: Iterable[Report], on_report: OnReport) -> None:
        """Answer reports; whoever is at an attempt that doesn't count any more is to stop."""
        task_ids = {running.attempt_id: task_id for task_id, running in self._running.items()}
        answers = dict.fromkeys((ticket for ticket, *_ in reports), True)
        try:
            for ticket, attempt_id, step, metrics in reports:
                if attempt_id in task_ids:
                    answers[ticket] = False
                    answers[ticket] = on_report(task_ids[attempt_id], step, metrics)
        finally:
            self._reports = self._mailbox.take.remote(answers)

    def _collect(self, running: _Running) -> TaskOutcome:
        """Take in what came of an attempt: its files first, so that whoever is told finds them."""
        task_id = running.task.task_id
        del self._running[task_id]
        try:
            outcome, files = ray.get(running.ref)
        except (ray.exceptions.RayTaskError, ray.exceptions.RayError) as error:
            return _failed(task_id, error)
        try:
            replace_folder(running.task.folder, files)
        except OSError as error:
            return TaskOutcome(task_id, "failed", one_line(error), has_no_room(error))
        redact_file(running.task.log_path)
        return TaskOutcome(task_id, outcome.state, outcome.message, outcome.has_no_room)

    def cancel(self, task_id: str) -> None:
        """Let the task be ended where it runs; what comes of it counts no more."""
        running = self._running.pop(task_id, None)
        if running is not None:
            self._mailbox.order.remote(Order(running.attempt_id, "cancel"))
            self._cancelled.append(TaskOutcome(task_id, "stopped"))

    def renew(self) -> None:
        """Let further tasks read what is there now."""
        self._shipment = self._shipped()

    def _shipped(self) -> Shipment:
        try:
            return self._shipper.ship(self._reads())
        except ray.exceptions.RayError as error:
            raise ExecutionError(
                f"what trainings read can't be put into Ray's object store: {one_line(error)}; give it more with "
                "`ray start --object-store-memory BYTES`"
            ) from error

    def close(self) -> None:
        """Ask every task that still runs to end, and take home what it saved; end those that haven't in time."""
        try:
            for running in self._running.values():
                self._mailbox.order.remote(Order(running.attempt_id, "end"))
            deadline = time.monotonic() + GRACE
            while self._running and (left := deadline - time.monotonic()) > 0:
                self._serve_ready(left, lambda *_: False)
        finally:  # a second signal finds nothing to wait for
            for running in self._running.values():
                with suppress(ray.exceptions.RayError):
                    ray.cancel(running.ref, force=True)
            self._running.clear()
            self._tasks.clear()
            ray.kill(self._mailbox)


def _failed(task_id: str, error: Exception) -> TaskOutcome:
    """Return the outcome of an attempt that Ray has no result of."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):  # of our own code on the node: its disk is full, or it has other versions
        message = str(cause) if isinstance(cause, ExecutionError) else one_line(cause)
        return TaskOutcome(task_id, "failed", message, has_no_room(cause))
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return TaskOutcome(
            task_id, "died", "its node was out of memory and Ray killed it; give it more resources, or less to do"
        )
    return TaskOutcome(task_id, "died", f"its node or process was lost: {type(error).__name__}")


def connect(address: str | None) -> None:
    """Connect this process to the cluster at `address` or of RAY_ADDRESS; without either, start one here.

    Raises ExecutionError if there is no cluster, or it doesn't answer within `CONNECT` seconds.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
    logging.getLogger("ray").setLevel(logging.ERROR)
    wanted = address or os.environ.get("RAY_ADDRESS") or "local"
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _check_answers(wanted)
        own: dict[str, Any] = {"include_dashboard": False} if wanted == "local" else {}
        ray.init(address=wanted, log_to_driver=False, configure_logging=False, **own)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "" if "RAY_AUTH_MODE" in os.environ else "; if it wants a token, set RAY_AUTH_MODE=token"
        raise ExecutionError(
            f"no Ray cluster at {wanted}: {one_line(error)}{hint}; start one with `ray start --head`, or leave out "
            "ray_address to work on this machine"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has one of its own


def _check_answers(address: str) -> None:
    """Raise OSError unless somebody listens there; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()


def _warn_if_too_much(wanted: Mapping[str, float]) -> None:
    """Warn if no node has what a task needs; one that has may yet join."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= count for name, count in wanted.items()) for node in nodes):
        text = ", ".join(f"{name} {count:g}" for name, count in wanted.items() if count)
        _log.warning("no node of the Ray cluster has %s; tasks wait until one joins that does", text)
