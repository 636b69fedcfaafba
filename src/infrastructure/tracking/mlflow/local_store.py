"""A tracking store in a SQLite file: made whole or not at all, for its owner alone, and never over another file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from filelock import FileLock
from mlflow import MlflowClient

from infrastructure.errors import StoreDamagedError
from infrastructure.storage.files import make_private

SCHEME: Final = "sqlite:///"
MAGIC: Final = b"SQLite format 3\x00"
PAGE_SIZE, PAGE_COUNT, VERSION, COUNTED_AT = slice(16, 18), slice(28, 32), slice(24, 28), slice(92, 96)
"""Fields of the header. Source: https://www.sqlite.org/fileformat2.html §1.3."""


def store_file(tracking_uri: str) -> Path | None:
    """Return the file of a local store, or None for a store of another kind."""
    return Path(tracking_uri.removeprefix(SCHEME)).absolute() if tracking_uri.startswith(SCHEME) else None


def prepare(file: Path, artifacts: Path) -> None:
    """See that there is a store which can be used; make it, with its artifact folder, where there is none.

    The file gets mode 0600 and the folder 0700. Raises StoreDamagedError for a file that isn't a whole SQLite database,
    and leaves it as it is.
    """
    make_private(artifacts)
    # Two first users of an empty store would race the creation of its schema.
    with FileLock(file.with_name(f".{file.name}.lock"), mode=0o600):
        if file.exists():
            _check(file)
        else:
            _create(file)


def _create(file: Path) -> None:
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
    MlflowClient(f"{SCHEME}{new}").search_experiments()
    with closing(sqlite3.connect(new)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    new.replace(file)


def _check(file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as store:
        header = store.read(100)
    advice = "restore it from a backup, or move it away to begin a new store"
    if not header.startswith(MAGIC) or len(header) < COUNTED_AT.stop:
        raise StoreDamagedError(f"{file} is no SQLite database ({size} bytes), so it isn't touched; {advice}")
    page_size = int.from_bytes(header[PAGE_SIZE], "big")
    expected = int.from_bytes(header[PAGE_COUNT], "big") * (65536 if page_size == 1 else page_size)
    # With a journal beside it, or written by very old versions, the header doesn't say how large the file is.
    is_counted = header[VERSION] == header[COUNTED_AT] and not any(
        file.with_name(file.name + ending).exists() for ending in ("-wal", "-journal")
    )
    if is_counted and size < expected:
        raise StoreDamagedError(f"{file} was cut to {size} of {expected} bytes, so it isn't touched; {advice}")
