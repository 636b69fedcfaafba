"""What happens on a node of a Ray cluster: a local executor runs the task there, beside its files.

So a task is forked from a warm parent, prints to its log and dies alone on a node as it does on the driver's machine.
What it reports and what it is told go through the mailbox, an actor beside the driver.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import ray

from infrastructure.errors import ExecutionError
from infrastructure.executors.base import Task, TaskOutcome
from infrastructure.executors.local import LocalExecutor
from infrastructure.executors.shipping import Files, Shipment, read_files, relocated, unpack, write_files
from infrastructure.installation import DISTRIBUTION, installed_packages

Versions: TypeAlias = "dict[str, str]"
Report: TypeAlias = "tuple[int, str, int, dict[str, float]]"
"""A ticket to answer by, the attempt, the step, and the metrics."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task: only what comes back from the newest of a task counts."""

    attempt_id: str
    task: Task
    preload: tuple[str, ...]
    versions: Versions


@dataclass(frozen=True)
class Order:
    """What an attempt is told: to end at once, or to save what it has and end."""

    attempt_id: str
    kind: Literal["cancel", "end"]


class Mailbox:
    """Takes the reports of all attempts and the driver's answers and orders; an actor of one event loop."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._orders: list[Order] = []
        self._count = 0
        self._reported = asyncio.Event()
        self._ordered = asyncio.Event()

    async def report(self, attempt_id: str, step: int, metrics: dict[str, float]) -> bool:
        """Leave a report, and return the driver's answer: whether to stop."""
        self._count += 1
        ticket = self._count
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers[ticket] = answer
        self._reports.append((ticket, attempt_id, step, metrics))
        self._reported.set()
        return await answer

    async def take(self, answers: Mapping[int, bool]) -> list[Report]:
        """Answer reports, and return the next ones when there are some."""
        for ticket, stop in answers.items():
            self._answers.pop(ticket).set_result(stop)
        await self._reported.wait()
        self._reported.clear()
        reports, self._reports = self._reports, []
        return reports

    async def order(self, order: Order) -> None:
        """Give an order to whoever is at that attempt now or begins it later."""
        self._orders.append(order)
        self._ordered.set()
        self._ordered = asyncio.Event()

    async def orders(self, known: int) -> list[Order]:
        """Return the orders after the first `known` when there are some."""
        while len(self._orders) <= known:
            await self._ordered.wait()
        return self._orders[known:]


class _Node:
    """What a process of a node has for the attempts of one driver; attempts come one after another."""

    def __init__(self, mailbox: Any, environment: Mapping[str, str], preload: Sequence[str]) -> None:  # noqa: ANN401
        self.mailbox = mailbox
        self.environment = environment
        self._executor = _TaskExecutor(self._stops, environment, preload)
        self._attempt_id = ""
        self._shipment = ""
        self._orders: dict[str, Order] = {}
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def run(self, attempt: Attempt, shipment: Shipment, files: Files) -> tuple[TaskOutcome, Files]:
        """Run an attempt in a folder of its own, and return what the task's folder holds then."""
        cache = _cache()
        tree = unpack(shipment, cache)
        if shipment.digest != self._shipment:  # the code may be another
            self._executor.renew()
            self._shipment = shipment.digest
        folder = Path(tempfile.mkdtemp(dir=_made(cache / "attempts"))) / "task"
        try:
            write_files(folder, files)
            payload = relocated(dict(attempt.task.payload), (attempt.task.folder, folder), shipment, tree)
            task = replace(attempt.task, payload=cast("Mapping[str, Any]", payload), folder=folder)
            self._attempt_id = attempt.attempt_id
            self._executor.submit(replace(task, max_retries=0))  # the driver begins it again, wherever there is room
            self._heed()
            (outcome,) = self._executor.wait()
            return outcome, read_files(folder)
        finally:
            self._attempt_id = ""
            shutil.rmtree(folder.parent, ignore_errors=True)

    def _stops(self, _: str, step: int, metrics: Mapping[str, float]) -> bool:
        answer: bool = ray.get(self.mailbox.report.remote(self._attempt_id, step, dict(metrics)))
        return answer

    def _listen(self) -> None:
        """Take orders for as long as the driver is there."""
        known = 0
        while True:
            try:
                orders: list[Order] = ray.get(self.mailbox.orders.remote(known))
            except ray.exceptions.RayError:
                return
            known += len(orders)
            self._orders.update({order.attempt_id: order for order in orders})
            self._heed()

    def _heed(self) -> None:
        """Do what the present attempt is told, if anything."""
        order = self._orders.get(self._attempt_id)
        if order is not None and order.kind == "cancel":
            self._executor.cancel_all()
        elif order is not None:
            self._executor.end_all()

    def close(self) -> None:
        """End the processes."""
        self._executor.close()


class _TaskExecutor(LocalExecutor):
    """Runs the task of the present attempt, and lets another thread end it."""

    def __init__(self, stops: Any, environment: Mapping[str, str], preload: Sequence[str]) -> None:  # noqa: ANN401
        super().__init__(1, stops, lambda *_: None, environment, preload)
        self._serving = threading.RLock()

    def _serve(self, *arguments: Any) -> TaskOutcome | None:  # noqa: ANN401  as the class above has them
        with self._serving:
            return super()._serve(*arguments)

    def cancel_all(self) -> None:
        with self._serving:
            for task_id in list(self._running):
                self.cancel(task_id)

    def end_all(self) -> None:
        with self._serving:
            for running in self._running.values():
                running.worker.process.terminate()


_nodes: list[_Node] = []
"""What this process has for the driver that it works for: one at most."""


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def run_attempt(attempt: Attempt, shipment: Shipment, files: Files, mailbox: Any) -> tuple[TaskOutcome, Files]:  # noqa: ANN401
    """Run an attempt on this node; return how it ended, and what the task's folder holds then."""
    check_versions(attempt.versions)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AZUREML_"))}
    if not _nodes or _nodes[0].mailbox != mailbox or _nodes[0].environment != environment:
        while _nodes:
            _nodes.pop().close()
        _nodes.append(_Node(mailbox, environment, attempt.preload))
    return _nodes[0].run(attempt, shipment, files)


def versions_here() -> Versions:
    """Return the versions of Python, Assay, and what Assay needs, as far as it is installed here."""
    found = {package.name: package.version for package in installed_packages("transformers")}
    here = {"python": platform.python_version(), DISTRIBUTION: version(DISTRIBUTION), **found}
    return {name: there for name, there in here.items() if there is not None}


def check_versions(of_driver: Versions) -> None:
    """Raise ExecutionError if this node has another version of something than the driver has: scores would differ."""
    here = versions_here()
    differing = [f"{name} {here[name]} for {of}" for name, of in of_driver.items() if here.get(name, of) != of]
    if differing:
        raise ExecutionError(
            f"node {platform.node()} has {', '.join(differing)} of the driver, so its scores wouldn't be comparable; "
            "install the same versions on all nodes"
        )


def _cache() -> Path:
    """Return the folder of this node's that files are kept in for as long as the cluster lives."""
    context = ray.get_runtime_context()
    return _made(Path(context.get_temp_dir(), context.get_session_name(), "assay"))


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
