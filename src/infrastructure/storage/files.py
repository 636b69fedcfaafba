"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import glob
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may read, mode 0700, unless it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it holds all of `content` and survives a power cut, or isn't there.

    Order: temporary file beside it, fsync, rename, fsync of the folder. Creates the folder. Temporary files that
    writers of this file left behind when they were killed are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f"{_temporary_prefix(path)}{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # SystemExit too: a process that is told to end may be in here
        with suppress(OSError):
            temporary.unlink()  # a full disk needs the room
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _temporary_prefix(path: Path) -> str:
    """Return how the names of this machine's temporary files for `path` begin; the writer's process id follows."""
    return f".{path.name}.{socket.gethostname()}-"


def _remove_abandoned(path: Path) -> None:
    prefix = _temporary_prefix(path)
    for left in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        pid = left.name.removeprefix(prefix).removesuffix(".tmp")
        if pid.isdecimal() and _is_gone(int(pid)):
            left.unlink(missing_ok=True)


def _is_gone(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return False


def write_json_atomic(path: Path, value: JsonValue) -> None:
    """Write a value as JSON, whole or not at all. Raises ValueError for NaN and infinities."""
    write_bytes_atomic(path, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
