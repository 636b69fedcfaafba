"""One process at a time: a lock of the operating system, which ends with its process, and who holds it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from infrastructure.errors import StudyHeldError
from infrastructure.storage.files import make_private
from infrastructure.storage.own_files import check_own

PROC: Final = Path("/proc/self")
ATTEMPTS, PAUSE = 20, 0.05


@contextmanager
def lease(path: Path, what: str) -> Iterator[None]:
    """Hold `path` while the context lasts. Raises StudyHeldError, which names the holder of `what`, if another does.

    Raises UnsafePathError if the lock or its folder is a link.
    """
    make_private(path.parent)
    owner_file = path.with_suffix(".owner")
    check_own(path.parent)
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyHeldError(f"{what} is being worked on by {_shown(owner_file)}; wait for it, or end it") from error
    try:
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        owner_file.write_text(json.dumps(owner))
        yield
    finally:
        owner_file.unlink(missing_ok=True)
        lock.release()


def _shown(owner_file: Path) -> str:
    """Say who the holder is; one that has the lock for moments may not have written yet who it is."""
    for _ in range(ATTEMPTS):
        with suppress(OSError, ValueError, KeyError):
            owner = json.loads(owner_file.read_text())
            if owner["host"] != socket.gethostname() or Path(f"/proc/{owner['pid']}").exists() or not PROC.exists():
                return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        time.sleep(PAUSE)
    return "another process"
