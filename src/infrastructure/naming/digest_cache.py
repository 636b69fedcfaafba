"""Digests of files that were read before, kept in the user's cache folder; losing them costs time and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

from blake3 import blake3
from pydantic import Field, TypeAdapter

from infrastructure.storage.files import write_bytes_atomic

ENTRIES: Final = TypeAdapter(dict[str, tuple[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]])
"""By a file's name in the folder: its state, and its digest in 64 hex digits."""

SETTLED: Final = 2_000_000_000
"""Nanoseconds after which another write shows in a file's times, however coarse they are.

Writes through a memory map that is still open are the exception: Linux dates only the first of them.
"""


class DigestCache:
    """The digests of a folder's files, each valid while the file's size, times and inode stay as they were.

    Used as a context: entering reads what is known, leaving writes what was learnt.
    """

    def __init__(self, folder: Path) -> None:
        name = blake3(os.fsencode(folder.resolve())).hexdigest()[:32]
        self._folder = folder
        self._file = _cache_home() / "assay" / "digests" / f"{name}.json"
        self._known: dict[str, tuple[str, str]] = {}
        self._learnt: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, ValueError):
            self._known = ENTRIES.validate_python(json.loads(self._file.read_bytes()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._learnt:
            content = json.dumps({**self._known, **self._learnt}).encode()
            with contextlib.suppress(OSError):  # a cache that can't be written is no fault
                write_bytes_atomic(self._file, content)

    def digest(self, file: Path, status: os.stat_result) -> bytes:
        """Return the BLAKE3 of a file, read only if it isn't known from before. Raises OSError."""
        name, state = file.relative_to(self._folder).as_posix(), _state(status)
        known_state, known_digest = self._known.get(name, ("", ""))
        if known_state == state:
            return bytes.fromhex(known_digest)
        digest: bytes = blake3(max_threads=blake3.AUTO).update_mmap(file).digest()
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED
        if is_settled and _state(file.stat()) == state:
            self._learnt[name] = (state, digest.hex())
        return digest


def _cache_home() -> Path:
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull)  # nothing can lie below it, so there is no cache


def _state(status: os.stat_result) -> str:
    return f"{status.st_dev}/{status.st_ino}/{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}"
