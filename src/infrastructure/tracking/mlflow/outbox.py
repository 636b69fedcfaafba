"""What a study does to its runs, kept on disk in order and sent to the tracking store behind the work.

See docs/decisions/0006 and 0011.
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
from typing import Final

from mlflow.exceptions import MlflowException
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
from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.operations import WRITER, Operation
from infrastructure.tracking.mlflow.runs import RunContent, RunStatus
from infrastructure.tracking.mlflow.sending import Sender, SendingStoppedError
from infrastructure.tracking.mlflow.session import current_session

_log = logging.getLogger(__name__)

LONGEST_CALL: Final = 60.0
"""Seconds that one call to a store can take: MLflow waits 20 s for a locked file, 30 s for a server."""
NO_ROOM_PAUSE: Final = 0.5
"""Seconds until something is tried again for which a disk had no room."""
ATTEMPT: Final = 5.0
"""For how many seconds the thread tries an operation before it looks whether anybody still waits for it."""
QUIET: Final = 0.01
"""Seconds without a new operation after which the thread sends: until then the driver has the interpreter to itself."""
LATEST: Final = 5.0
"""Seconds after which the thread sends some, however busy the driver is."""
TOGETHER: Final = 64
"""How many operations are sent together at most: a local store is locked meanwhile, for about a quarter of a second."""


def journals(output_dir: Path) -> list[tuple[Path, str]]:
    """Return the journals of all studies below an output folder, each with the id of the study's run."""
    found = sorted(output_dir.glob("*/outbox-*.jsonl"))
    return [(journal, journal.stem.removeprefix("outbox-")) for journal in found]


_senders: dict[Path, threading.Thread] = {}
"""The thread of each journal that this process has sent, the newest."""


class Outbox:
    """The operations of one study's run and the runs below it that the store hasn't got yet.

    One thread puts operations in; what is put outlives the process when the call returns, and a power cut after `sync`.
    Another, of the outbox's own, sends
    them. Only whoever holds the study's lease may have one.
    """

    def __init__(self, folder: Path, study_run_id: str) -> None:
        self._journal = folder / f"outbox-{study_run_id}.jsonl"
        self._position = self._journal.with_suffix(".position")
        self._refused = folder / f"refused-{study_run_id}.jsonl"
        self._sender = Sender(lambda: self._has_ended)
        self._refusals: list[str] = []
        self._reason = ""
        self._crash: BaseException | None = None
        self._closing = False
        self._is_awaited = False
        self._is_idle = False
        self._has_unsynced_end = False
        self._last_put = 0.0
        self._changed = threading.Condition()
        folder.mkdir(parents=True, exist_ok=True)
        self._await_predecessor()
        self._file = self._journal.open("ab", buffering=0)
        self._size = self._one_by_one = self._drop_torn_line()
        self._leftover = self._size
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
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise self._unwritable(error) from error
        self._has_unsynced_end |= kind == "end"
        with self._changed:
            self._size = self._length  # with what a signal kept an earlier call from counting
            self._last_put = time.monotonic()
            if self._is_idle:
                self._changed.notify_all()

    def sync(self) -> None:
        """Return when the runs that have ended are on disk as such, for good.

        What else was written can be done again, and is the same then.
        """
        if self._has_unsynced_end:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._unwritable(error) from error
            self._has_unsynced_end = False

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._journal} can't be written: {error.strerror}; make room, and give the same command again"
        )

    def drain(self, limit: float) -> None:
        """Wait until everything is sent; raise StoreUnreachableError if nothing could be for `limit` seconds."""
        with self._changed, self._awaiting():
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

    @contextmanager
    def _awaiting(self) -> Iterator[None]:
        """Let the thread send without a pause while the driver waits for it."""
        self._is_awaited = True
        self._changed.notify_all()
        try:
            yield
        finally:
            self._is_awaited = False

    def close(self, limit: float) -> None:
        """Wait as `drain` does, then give up the journal; raise TrackingError if the store refused something."""
        try:
            self.drain(limit)
            self._sender.delete_duplicates()
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
        with self._changed, self._awaiting():
            self._changed.wait_for(lambda: self._sent >= self._size or self._crash is not None, seconds)
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(deadline - time.monotonic(), 0))
        self._file.close()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
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

    def _wait_for_work(self) -> bool:
        """Wait until something is to be sent and the driver doesn't need the interpreter; False at the end."""
        with self._changed:
            self._is_idle = True
            self._changed.wait_for(lambda: self._sent < self._size or self._has_ended)
            self._is_idle = False
            latest = time.monotonic() + LATEST
            while not (self._has_ended or self._is_awaited):
                now = time.monotonic()
                pause = min(self._last_put + QUIET, latest) - now
                if pause <= 0:
                    break
                self._changed.wait(pause)
            return not self._has_ended

    def _send_next(self) -> None:
        lines, operations = self._read_next()
        if len(lines) == 1:
            self._send_one(lines[0], operations[0])
            return
        try:
            self._sender.send_together(operations)
        except SendingStoppedError:
            return
        except Exception:  # noqa: BLE001  whatever it is of whichever of them: one by one will tell
            self._one_by_one = self._sent + sum(map(len, lines))
        else:
            self._advance(sum(map(len, lines)))

    def _read_next(self) -> tuple[list[bytes], list[Operation]]:
        """Return the next operation, or the next ones that can be sent together."""
        with self._journal.open("rb") as journal:
            journal.seek(self._sent)
            lines = [journal.readline()]
            operations = [Operation.model_validate_json(lines[0])]
            if self._sent < self._one_by_one or operations[0].kind == "text":
                return lines, operations
            while len(lines) < TOGETHER and journal.tell() < self._size:
                line = journal.readline()
                operation = Operation.model_validate_json(line)
                if operation.kind == "text":
                    break
                lines.append(line)
                operations.append(operation)
        return lines, operations

    def _send_one(self, line: bytes, operation: Operation) -> None:
        try:
            seek = self._sent < self._one_by_one
            self._sender.send(operation, is_leftover=self._sent < self._leftover, seek=seek)
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
        self._advance(len(line))

    def _advance(self, length: int) -> None:
        with self._changed:
            self._sent += length
            with suppress(OSError):  # sending something twice does no harm
                self._position.write_text(f"{self._sent}\n")
            self._changed.notify_all()

    def _refuse(self, line: bytes, error: Exception) -> None:
        self._refusals.append(one_line(error))
        _log.warning("the tracking store refused a record: %s", self._refusals[-1])
        with self._refused.open("ab") as refused:
            refused.write(line)


def _fields(content: RunContent) -> dict[str, object]:
    metrics = [(metric.name, metric.value, metric.step) for metric in content.metrics]
    return {"params": dict(content.params), "metrics": metrics, "tags": dict(content.tags)}
