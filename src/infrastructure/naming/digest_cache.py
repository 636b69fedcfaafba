"""Digests of files that were read before, kept in the user's cache folder; losing them costs time and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

from blake3 import blake3
from pydantic import Field, TypeAdapter

from infrastructure.storage.files import write_bytes_atomic

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
WHOLE: Final = TypeAdapter(tuple[Digest, Digest])
ENTRIES: Final = TypeAdapter(dict[str, tuple[str, Digest]])
"""By a file's name in the folder: its state, and its digest in 64 hex digits."""

SETTLED: Final = 2_000_000_000
"""Nanoseconds after which another write shows in a file's times, however coarse they are.

Writes through a memory map that is still open are the exception: Linux dates only the first of them.
"""


Listing = Sequence[tuple[str, os.stat_result]]
"""The relative names of all files of a folder, with their states."""


class DigestCache:
    """The digests of a folder's files, each valid while the file's size, times and inode stay as they were.

    The folder's own fingerprint is kept too, for the states of all its files. Used as a context: leaving writes what
    was learnt.
    """

    def __init__(self, folder: Path) -> None:
        name = blake3(os.fsencode(folder.resolve())).hexdigest()[:32]
        self._folder = folder
        self._file = _cache_home() / "assay" / "digests" / f"{name}.json"
        self._whole = self._file.with_suffix(".whole")
        self._learnt: dict[str, tuple[str, str]] = {}
        self._are_all_settled = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._learnt:
            _write(self._file, json.dumps({**self._known, **self._learnt}))

    @cached_property
    def _known(self) -> dict[str, tuple[str, str]]:
        with contextlib.suppress(OSError, ValueError):
            return ENTRIES.validate_python(json.loads(self._file.read_bytes()))
        return {}

    def digest(self, name: str, status: os.stat_result) -> bytes:
        """Return the BLAKE3 of a file of the folder, read only if it isn't known from before. Raises OSError."""
        state = _state(status)
        known_state, known_digest = self._known.get(name, ("", ""))
        if known_state == state:
            return bytes.fromhex(known_digest)
        file = self._folder / name
        digest: bytes = blake3(max_threads=blake3.AUTO).update_mmap(file).digest()
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED
        if is_settled and _state(file.stat()) == state:
            self._learnt[name] = (state, digest.hex())
        else:
            self._are_all_settled = False
        return digest

    def whole(self, files: Listing) -> str | None:
        """Return the fingerprint that the folder had when its files were in these states, if that is known."""
        with contextlib.suppress(OSError, ValueError):
            states, fingerprint = WHOLE.validate_python(json.loads(self._whole.read_bytes()))
            if states == _states(files):
                return fingerprint
        return None

    def learn_whole(self, files: Listing, fingerprint: str) -> None:
        """Keep the folder's fingerprint, unless one of its files may still change unnoticed."""
        if self._are_all_settled:
            _write(self._whole, json.dumps([_states(files), fingerprint]))


def _write(file: Path, content: str) -> None:
    with contextlib.suppress(OSError):  # a cache that can't be written is no fault
        write_bytes_atomic(file, content.encode())


def _cache_home() -> Path:
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull)  # nothing can lie below it, so there is no cache


def _states(files: Listing) -> str:
    """Return the digest of the names and states of files."""
    lines = [f"{name}\0{s.st_dev}/{s.st_ino}/{s.st_size}/{s.st_mtime_ns}/{s.st_ctime_ns}" for name, s in files]
    return str(blake3("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest())


def _state(status: os.stat_result) -> str:
    return f"{status.st_dev}/{status.st_ino}/{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}"
