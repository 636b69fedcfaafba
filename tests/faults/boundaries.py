"""Counts what a process does to files and to its database, and kills it before, or in the middle of, the n-th of them.

A boundary is an SQL statement, a COMMIT or ROLLBACK, or an operation on a file that changes something: opening for
writing, what leaves a buffer, fsync, truncate, rename, unlink, mkdir, copy. What leaves a buffer counts twice: the
process may die before it or with half of it written.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, event

BUFFER: Final = 65_536
WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
AUDITED: Final = frozenset(
    {
        *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"),
        *("sqlite3.connect", "shutil.rmtree", "shutil.copytree", "shutil.move"),
    }
)


class Boundaries:
    """Counts from the moment it is made; `deadly` is the boundary before which the process group dies, 0 for none.

    Only those count whose description contains `among`. `report` is told which boundary it was before the process dies
    of it.
    """

    def __init__(self, deadly: int, report: Callable[[str], None], among: str = "") -> None:
        self.count = 0
        self._deadly = deadly
        self._among = among
        self._report = report
        self._turn = threading.Lock()
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", lambda _: self.reach("COMMIT"))
        event.listen(Engine, "rollback", lambda _: self.reach("ROLLBACK"))
        self._patch(os, "fsync", lambda *_: "fsync")
        self._patch(os, "ftruncate", lambda *_: "ftruncate")
        self._patch(os, "sendfile", lambda *_: "sendfile", self._half_sent)
        self._patch_open()
        sys.addaudithook(self._audited)

    def reach(self, what: str, half: Callable[[], object] | None = None) -> None:
        """Count a boundary, and after it another one if the operation can be done by half."""
        self._reach(what, lambda: None)
        if half is not None:
            self._reach(f"half of {what}", half)

    def _reach(self, what: str, last_deed: Callable[[], object]) -> None:
        if self._among not in what:
            return
        with self._turn:
            self.count += 1
            if self.count == self._deadly:
                last_deed()
                self._report(what)
                os.killpg(0, signal.SIGKILL)

    def _statement(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.reach(" ".join(statement.split())[:60])

    def _audited(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in AUDITED:
            self.reach(f"{name} {arguments[0]}")
        elif name == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & WRITING:
            self._opened(os.fsdecode(arguments[0]))

    def _opened(self, path: str) -> None:
        if not path.startswith(("/dev/", "/proc/")):
            self.reach(f"open {path}")

    def _patch(
        self,
        module: Any,
        name: str,
        label: Callable[..., str],
        half: Callable[..., object] | None = None,
    ) -> None:
        original = getattr(module, name)

        def counted(*arguments: Any) -> Any:
            self.reach(label(*arguments), None if half is None else lambda: half(original, *arguments))
            return original(*arguments)

        setattr(module, name, counted)

    @staticmethod
    def _half_sent(sendfile: Callable[..., int], out: int, source: int, offset: int, _count: int) -> None:
        sendfile(out, source, offset, os.fstat(source).st_size // 2)

    def _patch_open(self) -> None:
        original = io.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
            found = original(file, mode, *arguments, **keywords)
            is_written = any(letter in mode for letter in "wax") and "+" not in mode
            return _Written(found, str(file), self) if is_written else found

        builtins.open = opened
        io.open = opened


class _Written:
    """A file that is being written: its buffer is here, so that what leaves it is a boundary."""

    def __init__(self, file: Any, name: str, boundaries: Boundaries) -> None:
        self._file = file
        self._name = name
        self._boundaries = boundaries
        self._buffer: Any = "" if isinstance(file, io.TextIOBase) else b""

    def write(self, content: Any) -> int:
        self._buffer += content if isinstance(content, str) else bytes(content)
        if len(self._buffer) > BUFFER:
            self.flush()
        return len(content)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._buffer:
            self._boundaries.reach(f"write {self._name}", self._write_half)
            self._file.write(self._buffer)
            self._buffer = self._buffer[:0]
        self._file.flush()

    def _write_half(self) -> None:
        self._file.write(self._buffer[: len(self._buffer) // 2])
        self._file.flush()

    def truncate(self, size: int | None = None) -> int:
        self.flush()
        self._boundaries.reach(f"truncate {self._name}")
        cut: int = self._file.truncate(size)
        return cut

    def close(self) -> None:
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the file has, with nothing left in the buffer."""
        if not self._file.closed:
            self.flush()
        return getattr(self._file, name)
