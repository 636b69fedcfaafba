"""Sends operations to the tracking store: one by one, or many together in the fewest and cheapest calls.

Many together are one transaction of a local store. To a server they go in several calls at once, but those of one trial
in their order, so that no run is done before the runs below it; and trials begin in the order of their numbers, so that
whoever goes on elsewhere finds no gap between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from infrastructure.errors import TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.operations import WRITER, Operation, merged
from infrastructure.tracking.mlflow.session import current_session

CALLS_AT_ONCE: Final = 4
"""How many calls a server gets at the same time; `mlflow server` has four processes by default."""


class SendingStoppedError(Exception):
    """Raised in the middle of many operations when the rest isn't to be sent."""


class Sender:
    """Sends the operations of one study; `is_ended` tells, before each of many, that the rest isn't to be sent."""

    def __init__(self, is_ended: Callable[[], bool]) -> None:
        self._is_ended = is_ended
        self._run_ids: dict[str, str] = {}
        self._trees: dict[str, str] = {}
        self._ended_elsewhere: dict[str, bool] = {}
        self._created: dict[str, int] = {}

    def send(self, operation: Operation, *, is_leftover: bool = False, seek: bool = False) -> None:
        """Send one operation.

        One that an earlier driver left is dropped if its run is done by now. With `seek` the run of a writer is looked
        for before it is created.
        """
        if operation.kind == "create":
            self._create(operation, seek=seek or is_leftover)
            return
        run_id = self._run_id(operation.run)
        if is_leftover and self._is_done(run_id):
            return  # somebody else went on with it, or it was sent before
        if operation.kind == "reopen":
            runs.reopen_run(run_id)
            runs.write_run(run_id, operation.content, operation.time)
        elif operation.kind == "write":
            runs.write_run(run_id, operation.content, operation.time)
        elif operation.kind == "text":
            runs.log_text(run_id, operation.text, operation.name)
        elif operation.done:
            runs.complete_run(run_id, operation.content, operation.status, operation.time)
        else:
            runs.write_run(run_id, operation.content, operation.time)
            runs.end_run(run_id, operation.status, operation.time)

    def send_together(self, operations: Sequence[Operation]) -> None:
        """Send many operations, none of them a text; if it raises, some or none were sent.

        Raises SendingStoppedError when the rest isn't to be sent, and whatever the store makes of one of them.
        """
        session = current_session()
        for operation in operations:
            if operation.kind == "create":
                self._trees[operation.run] = self._trees.get(operation.parent, operation.run)
        if session.store_folder is not None:
            with session.client.transaction():
                self._send_all(merged(operations))
        elif all(operation.run in self._trees for operation in operations):
            of_tree: dict[str, list[Operation]] = {}
            for operation in operations:
                of_tree.setdefault(self._trees[operation.run], []).append(operation)
            self._send_at_once([merged(tree) for tree in of_tree.values()])
        else:  # the study's own run, or one that was taken up: nothing may overtake it
            self._send_all(merged(operations))

    def _send_all(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            if self._is_ended():
                raise SendingStoppedError
            self.send(operation)

    def _send_at_once(self, sequences: Sequence[Sequence[Operation]]) -> None:
        """Send several sequences at the same time, each in its order, and the first of each in the order of all.

        Raises the first error of one of them.
        """
        waiting = iter(sequences)
        beginning = threading.Lock()
        errors: list[Exception] = []
        client = current_session().client
        patience = client.patience

        def send_next() -> bool:
            with beginning:
                sequence = None if errors else next(waiting, None)
                if sequence is not None:
                    self._send_all(sequence[:1])
            if sequence is not None:
                self._send_all(sequence[1:])
            return sequence is not None

        def work() -> None:
            with client.hurried(patience):
                try:
                    while send_next():
                        pass
                except Exception as error:  # noqa: BLE001  a thread's boundary: it is raised below
                    errors.append(error)

        threads = [
            threading.Thread(target=work, name="outbox-call", daemon=True)
            for _ in range(min(CALLS_AT_ONCE, len(sequences)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _create(self, operation: Operation, *, seek: bool) -> None:
        writer = operation.run.removeprefix(WRITER)
        run = current_session().client.create_run(
            operation.experiment_id,
            operation.name,
            {tags.WRITER: writer, **operation.tags, tags.PARENT_RUN: self._run_id(operation.parent)},
            operation.time,
            seek=seek,
        )
        self._run_ids[operation.run] = run.info.run_id
        self._created[run.info.run_id] = operation.time

    def _run_id(self, run: str) -> str:
        """Return a run's id in the store. Raises TrackingError for a writer whose run isn't there."""
        if not run.startswith(WRITER):
            return run
        if run not in self._run_ids:
            found = queries.find_runs({tags.WRITER: run.removeprefix(WRITER)})
            if not found:
                raise TrackingError(f"the run of {run} is gone from the store")
            self._run_ids[run] = min(record.run_id for record in found)
        return self._run_ids[run]

    def _is_done(self, run_id: str) -> bool:
        if run_id not in self._ended_elsewhere:
            self._ended_elsewhere[run_id] = queries.get_run(run_id).is_done
        return self._ended_elsewhere[run_id]

    def delete_duplicates(self) -> None:
        """Delete the runs that a server created a second time for one request; a local store never does."""
        if current_session().store_folder is None and self._created:
            runs.delete_duplicates(set(self._created), min(self._created.values()))
