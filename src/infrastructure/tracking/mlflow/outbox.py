"""What a study does to its runs, kept on disk in order and sent to the tracking store behind the work.

See docs/decisions/0006. A run that isn't in the store yet is called by its writer: `writer:` and the value of its tag
`code.writer`.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final, Literal

from mlflow.exceptions import MlflowException
from pydantic import AfterValidator, BaseModel, ConfigDict
from requests.exceptions import RequestException

from infrastructure.errors import (
    OutputError,
    StoreDamagedError,
    StoreUnreachableError,
    StudyHeldError,
    TrackingError,
    has_no_room,
    one_line,
)
from infrastructure.naming import tags
from infrastructure.redaction import redacted, redacted_fields
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent, RunStatus
from infrastructure.tracking.mlflow.session import current_session

_log = logging.getLogger(__name__)

Text = Annotated[str, AfterValidator(redacted)]
Fields = Annotated[dict[str, str], AfterValidator(redacted_fields)]

WRITER: Final = "writer:"
LONGEST_CALL: Final = 60.0
"""Seconds that one call to a store can take: MLflow waits 20 s for a locked file, 30 s for a server."""
LOCAL_STORE: Final = "sqlite:"
NO_ROOM_PAUSE: Final = 0.5
"""Seconds until something is tried again for which a disk had no room."""
ATTEMPT: Final = 5.0
"""For how many seconds the thread tries an operation before it looks whether anybody still waits for it."""


def journals(output_dir: Path) -> list[tuple[Path, str]]:
    """Return the journals of all studies below an output folder, each with the id of the study's run."""
    found = sorted(output_dir.glob("*/outbox-*.jsonl"))
    return [(journal, journal.stem.removeprefix("outbox-")) for journal in found]


class Operation(BaseModel):
    """One change of a run, without credentials: it lies on disk until it is sent.

    `time` is in milliseconds since 1970, and makes sending it twice the same as once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["create", "reopen", "write", "end", "text"]
    run: str
    time: int
    experiment_id: str = ""
    name: Text = ""
    parent: str = ""
    params: Fields = {}
    metrics: list[tuple[str, float, int]] = []
    tags: Fields = {}
    status: RunStatus = "FINISHED"
    done: bool = False
    text: Text = ""

    @property
    def content(self) -> RunContent:
        """What is written to the run."""
        return RunContent(self.params, [MetricPoint(*metric) for metric in self.metrics], self.tags)


_senders: dict[Path, threading.Thread] = {}
"""The thread of each journal that this process has sent, the newest."""


class Outbox:
    """The operations of one study's run and the runs below it that the store hasn't got yet.

    One thread puts operations in; what is put is on disk when the call returns. Another, of the outbox's own, sends
    them. Only whoever holds the study's lease may have one.
    """

    def __init__(self, folder: Path, study_run_id: str) -> None:
        self._journal = folder / f"outbox-{study_run_id}.jsonl"
        self._position = self._journal.with_suffix(".position")
        self._refused = folder / f"refused-{study_run_id}.jsonl"
        self._run_ids: dict[str, str] = {}
        self._ended_elsewhere: dict[str, bool] = {}
        self._created: dict[str, int] = {}
        self._refusals: list[str] = []
        self._reason = ""
        self._crash: BaseException | None = None
        self._closing = False
        self._changed = threading.Condition()
        folder.mkdir(parents=True, exist_ok=True)
        self._await_predecessor()
        self._file = self._journal.open("ab", buffering=0)
        self._size = self._leftover = self._drop_torn_line()
        self._sent = min(self._read_position(), self._size)
        self._thread = _senders[self._journal] = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def _await_predecessor(self) -> None:
        """Let a call come to its end that an outbox of this process was in when nobody waited for it any more."""
        if (before := _senders.get(self._journal)) is not None:
            before.join(LONGEST_CALL)
            if before.is_alive():
                raise TrackingError(f"{self._journal} is still being sent from before; give the command again later")

    def _drop_torn_line(self) -> int:
        """Cut off what was being written when the process died, which nobody was told of; return the size."""
        with self._journal.open("rb") as journal:
            whole = journal.read().rfind(b"\n") + 1
        self._file.truncate(whole)
        return whole

    def _read_position(self) -> int:
        """Return how far the journal was sent, or 0 if that isn't known; half of a number ends without a newline."""
        try:
            text = self._position.read_text()
        except OSError:
            return 0
        return int(text) if text.endswith("\n") and text.strip().isdecimal() else 0

    @property
    def waiting(self) -> int:
        """How many operations haven't been sent."""
        with self._journal.open("rb") as journal:
            journal.seek(self._sent)
            return journal.read().count(b"\n")

    def create(self, name: str, run_tags: Mapping[str, str], parent: str) -> str:
        """Create a run below another one, and return what it is called by here."""
        writer = WRITER + uuid.uuid4().hex
        session = current_session()
        with self._once_written(lambda: session.live_runs.add(writer)):
            self._put("create", writer, experiment_id=session.experiment_id, name=name, tags=run_tags, parent=parent)
        return writer

    def reopen(self, run: str, run_tags: Mapping[str, str]) -> None:
        """Take up a run that was begun, with these tags."""
        with self._once_written(lambda: current_session().live_runs.add(run)):
            self._put("reopen", run, tags=run_tags)

    def write(self, run: str, content: RunContent) -> None:
        """Write to a run."""
        self._put("write", run, **_fields(content))

    def keep_text(self, run: str, text: str, artifact_file: str) -> None:
        """Keep a text with a run, as a file of this name."""
        self._put("text", run, name=artifact_file, text=text)

    def end(self, run: str, content: RunContent, status: RunStatus, *, done: bool) -> None:
        """Write the last of a run, then its status, then, if `done`, that it is done."""
        with self._once_written(lambda: current_session().live_runs.discard(run)):
            self._put("end", run, status=status, done=done, **_fields(content))

    def end_live(self, status: RunStatus) -> None:
        """End every run that was begun or taken up here and hasn't been ended."""
        live = sorted(current_session().live_runs)
        try:
            for run in live:
                self.end(run, RunContent(), status, done=False)
        finally:  # what there is no room to say, whoever takes the study up finds out; the store may not know the run
            is_anothers = isinstance(self._crash, StudyHeldError)  # and so are its runs
            gone = [run for run in live if is_anothers or run.startswith(WRITER)]
            current_session().live_runs.difference_update(gone)

    @contextmanager
    def _once_written(self, note: Callable[[], None]) -> Iterator[None]:
        """Note something if an operation got into the journal, also when a signal comes right after it."""
        before = self._length
        try:
            yield
        finally:
            if self._length > before:
                note()

    @property
    def _length(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def fail(self, error: BaseException) -> None:
        """Let the next call raise this, in the thread that puts operations in."""
        with self._changed:
            self._crash = error
            self._changed.notify_all()

    def _put(self, kind: str, run: str, **fields: object) -> None:
        if self._crash is not None:
            raise self._crash
        operation = Operation.model_validate({"kind": kind, "run": run, "time": time.time_ns() // 1_000_000, **fields})
        line = operation.model_dump_json(exclude_defaults=True).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise OutputError(
                f"{self._journal} can't be written: {error.strerror}; make room, and give the same command again"
            ) from error
        with self._changed:
            self._size = self._length  # with what a signal kept an earlier call from counting
            self._changed.notify_all()

    def drain(self, limit: float) -> None:
        """Wait until everything is sent; raise StoreUnreachableError if nothing could be for `limit` seconds."""
        with self._changed:
            while self._sent < self._size and self._crash is None:
                sent = self._sent
                if not self._changed.wait_for(lambda: self._sent > sent or self._crash is not None, limit):  # noqa: B023
                    break
        if self._crash is not None:
            raise self._crash
        if self._sent < self._size:
            reason = f" ({self._reason})" if self._reason else ""
            raise StoreUnreachableError(
                f"the tracking store {current_session().tracking_uri} doesn't answer{reason}; "
                f"{self.waiting} records of the study wait in "
                f"{self._journal}: give the same command again, or `assay sync`, when it is back"
            )

    def close(self, limit: float) -> None:
        """Wait as `drain` does, then give up the journal; raise TrackingError if the store refused something."""
        try:
            self.drain(limit)
            self._delete_duplicates()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(runs.LAST_SECONDS)  # it may be in a call that hangs
            self._file.close()
        if self._refusals:
            raise TrackingError(
                f"the tracking store refused {len(self._refusals)} records of the study, which are kept in "
                f"{self._refused}; the first: {self._refusals[0]}"
            )

    def abandon(self, seconds: float) -> None:
        """Send what can be sent within so many seconds, and leave the rest on disk."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._sent >= self._size or self._crash is not None, seconds)
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(deadline - time.monotonic(), 0))
        self._file.close()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._sent < self._size or self._has_ended)
                    if self._has_ended:
                        break
                with current_session().client.hurried(ATTEMPT):
                    self._send_next()
        except BaseException as error:  # noqa: BLE001  the thread's boundary: `drain` raises it in the driver
            self.fail(error)
        finally:
            if self._sent >= self._size:
                # A position without its journal would be taken for that of the next one.
                self._position.unlink(missing_ok=True)
                self._journal.unlink(missing_ok=True)

    @property
    def _has_ended(self) -> bool:
        return self._closing or self._crash is not None

    def _send_next(self) -> None:
        with self._journal.open("rb") as journal:
            journal.seek(self._sent)
            line = journal.readline()
        try:
            self._send(Operation.model_validate_json(line), is_leftover=self._sent < self._leftover)
        except StoreUnreachableError as error:
            self._reason = one_line(error.__cause__ or error)
            return  # until it answers, or nobody waits for it any more
        except StoreDamagedError:
            raise  # what waits can be sent once it is mended
        except (MlflowException, RequestException, TrackingError, OSError) as error:
            if has_no_room(error):
                self._reason = one_line(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._has_ended, timeout=NO_ROOM_PAUSE)
                return
            self._refuse(line, error)
        with self._changed:
            self._sent += len(line)
            with suppress(OSError):  # sending something twice does no harm
                self._position.write_text(f"{self._sent}\n")
            self._changed.notify_all()

    def _refuse(self, line: bytes, error: Exception) -> None:
        self._refusals.append(one_line(error))
        _log.warning("the tracking store refused a record: %s", self._refusals[-1])
        with self._refused.open("ab") as refused:
            refused.write(line)

    def _send(self, operation: Operation, *, is_leftover: bool) -> None:
        if operation.kind == "create":
            self._create(operation, is_leftover=is_leftover)
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

    def _create(self, operation: Operation, *, is_leftover: bool) -> None:
        writer = operation.run.removeprefix(WRITER)
        run = current_session().client.create_run(
            operation.experiment_id,
            operation.name,
            {tags.WRITER: writer, **operation.tags, tags.PARENT_RUN: self._run_id(operation.parent)},
            operation.time,
            seek=is_leftover,
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

    def _delete_duplicates(self) -> None:
        """Delete the runs that a server created a second time for one request; a local store never does."""
        if current_session().tracking_uri.startswith(LOCAL_STORE) or not self._created:
            return
        runs.delete_duplicates(set(self._created), min(self._created.values()))


def _fields(content: RunContent) -> dict[str, object]:
    metrics = [(metric.name, metric.value, metric.step) for metric in content.metrics]
    return {"params": dict(content.params), "metrics": metrics, "tags": dict(content.tags)}
