"""Checkpoints: folders that are whole or not believed, the newest first.

Each holds a manifest with the size and the BLAKE3 of every file, and begins with its own. A flipped byte, a cut file, a
file that is missing or one too many, and a checkpoint of other work are all seen, and the one before is taken.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blake3 import blake3
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from infrastructure.storage.files import make_private, sync_folder

_log = logging.getLogger(__name__)

MANIFEST: Final = "manifest.json"


class _Manifest(BaseModel):
    """What a checkpoint consists of: of which work it is, notes of the writer's, and each file's BLAKE3 by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_hash: str
    notes: str
    files: dict[str, str]


class Checkpoint:
    """A checkpoint that was found whole: its folder, and the notes that were saved with it."""

    def __init__(self, folder: Path, notes: str) -> None:
        self.folder = folder
        self.notes = notes


class CheckpointFolder:
    """The checkpoints of one piece of work, of one process at a time.

    `key_hash` says of which work; what another one left in the folder isn't believed. Used as a context, it is this
    process's alone: one that still ends elsewhere is waited for.
    """

    def __init__(self, folder: Path, key_hash: str) -> None:
        self._folder = folder
        self._key_hash = key_hash
        self._lock = FileLock(folder / ".lock", mode=0o600)
        self._sound: Path | None = None

    def __enter__(self) -> CheckpointFolder:
        make_private(self._folder)
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or None; each that is damaged is told in a warning."""
        for folder in reversed(self._written()):
            try:
                found = Checkpoint(folder, self._checked(folder).notes)
            except (OSError, ValueError) as fault:  # pydantic's errors are kinds of ValueError
                reason = "its manifest can't be read" if isinstance(fault, ValidationError) else fault
                _log.warning("the checkpoint %s is damaged and isn't used: %s", folder, reason)
            else:
                self._sound = folder
                return found
        return None

    def _written(self) -> list[Path]:
        """Return the checkpoints that were written to their end, the oldest first."""
        found = [path for path in self._folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))

    def _checked(self, folder: Path) -> _Manifest:
        digest, _, text = (folder / MANIFEST).read_bytes().partition(b"\n")
        if digest.decode("ascii", "replace") != blake3(text).hexdigest():
            raise ValueError("its manifest was changed")
        manifest = _Manifest.model_validate_json(text)
        if manifest.key_hash != self._key_hash:
            raise ValueError("it is of other work")
        there = _digests(folder)
        if wrong := sorted(name for name in {*there, *manifest.files} if there.get(name) != manifest.files.get(name)):
            state = "is missing" if wrong[0] not in there else "isn't what was written"
            raise ValueError(f"{wrong[0]} {state}")
        return manifest

    def save(self, write: Callable[[Path], object], notes: str) -> None:
        """Let `write` fill a folder, and make it the newest checkpoint once all of it is on disk.

        The one before stays too, so that there is one to go back to when the newest is damaged.
        """
        written = self._written()
        number = int(written[-1].name.removeprefix("checkpoint-")) + 1 if written else 1
        new = self._folder / ".new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        try:
            self._fill(new, write, notes)
        except Exception:  # a full disk needs the room; not every library says so by an OSError
            shutil.rmtree(new, ignore_errors=True)
            raise
        newest = new.rename(self._folder / f"checkpoint-{number}")
        sync_folder(self._folder)
        for old in written:
            if old != self._sound:
                shutil.rmtree(old, ignore_errors=True)
        self._sound = newest

    def _fill(self, new: Path, write: Callable[[Path], object], notes: str) -> None:
        """Let `write` fill a folder, add the manifest, and see that all of it is on disk."""
        write(new)
        for name in (files := _digests(new)):
            _sync(new / name)
        text = _Manifest(key_hash=self._key_hash, notes=notes, files=files).model_dump_json().encode()
        (new / MANIFEST).write_bytes(blake3(text).hexdigest().encode() + b"\n" + text)
        _sync(new / MANIFEST)
        for folder in {new, *(file.parent for file in map(new.joinpath, files))}:
            sync_folder(folder)

    def delete(self) -> None:
        """Delete all checkpoints, when the work is done."""
        for folder in self._written():
            shutil.rmtree(folder, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    """Return the BLAKE3 of each file below a folder but the manifest, by its relative name."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    return {name: blake3().update_mmap(path).hexdigest() for name, path in sorted(files.items()) if name != MANIFEST}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
