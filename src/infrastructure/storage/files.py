"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may read, mode 0700, unless it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it holds all of `content` and survives a power cut, or isn't there.

    Order: temporary file beside it, fsync, rename, fsync of the folder. Creates the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()  # a full disk needs the room
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json_atomic(path: Path, value: JsonValue) -> None:
    """Write a value as JSON, whole or not at all. Raises ValueError for NaN and infinities."""
    write_bytes_atomic(path, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
