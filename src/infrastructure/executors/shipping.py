"""Files on their way between a driver and the nodes of a Ray cluster, through its object store.

What all tasks read lies there once, each file or folder under the digest of its content, and a node writes it down
once, whoever asks. What a task's own folder holds goes along with the task and comes back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import ray
from blake3 import blake3
from filelock import FileLock
from pydantic import JsonValue

from infrastructure.storage.files import sync_folder

Files: TypeAlias = "dict[str, np.ndarray[Any, np.dtype[np.uint8]]]"
"""The bytes of files by their names in a folder; of a single file by the empty name."""


@dataclass(frozen=True)
class _Entry:
    """A file or folder: where it is on the driver's machine, the digest of its content, and the content."""

    path: Path
    digest: str
    files: ray.ObjectRef[Files]


@dataclass(frozen=True)
class Shipment:
    """All that tasks read; `entries` are in the object store too, so that a task carries a few bytes."""

    digest: str
    paths: tuple[Path, ...]
    entries: ray.ObjectRef[list[_Entry]]


class Shipper:
    """Puts files into the object store, each again only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, _Entry]] = {}

    def ship(self, paths: Iterable[Path]) -> Shipment:
        """Put these files and folders into the object store; what lies in one of them is there with it."""
        every = set(paths)
        entries = [self._entry(path) for path in sorted(every) if every.isdisjoint(path.parents)]
        digest = blake3("\n".join(f"{entry.path} {entry.digest}" for entry in entries).encode()).hexdigest()
        return Shipment(digest, tuple(entry.path for entry in entries), ray.put(entries))

    def _entry(self, path: Path) -> _Entry:
        state = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in _files_of(path)]
        known = self._known.get(path)
        if known is None or known[0] != state:
            files = read_files(path)
            known = self._known[path] = (state, _Entry(path, _digest(files), ray.put(files)))
        return known[1]


def unpack(shipment: Shipment, cache: Path) -> Path:
    """Return a folder of this node below which all of a shipment lies, as it does below `/` on the driver's machine."""
    tree = cache / "shipments" / shipment.digest
    if not tree.is_dir():
        tree.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(tree.with_suffix(".lock")):
            if not tree.is_dir():
                entries: list[_Entry] = ray.get(shipment.entries)
                new = Path(tempfile.mkdtemp(dir=tree.parent))
                for entry in entries:
                    link = below(new, entry.path)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(_content(entry, cache))
                new.rename(tree)
    return tree


def _content(entry: _Entry, cache: Path) -> Path:
    """Return where the content of an entry lies on this node; it is written there unless another shipment had it."""
    content = cache / "contents" / entry.digest
    if not content.exists():
        content.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(content.with_suffix(".lock")):
            if not content.exists():
                new = Path(tempfile.mkdtemp(dir=content.parent)) / "content"
                write_files(new, ray.get(entry.files))
                new.rename(content)
                new.parent.rmdir()
    return content


def below(folder: Path, path: Path) -> Path:
    """Return an absolute path as it is below another folder."""
    return folder / path.relative_to(path.anchor)


def relocated(value: JsonValue, task_folder: tuple[Path, Path], shipment: Shipment, tree: Path) -> JsonValue:
    """Return a payload with the paths that are shipped, and those in the task's folder, as they are on this node.

    `task_folder` is the task's folder on the driver's machine and here; `tree` is where the shipment lies.
    """
    if isinstance(value, dict):
        return {key: relocated(item, task_folder, shipment, tree) for key, item in value.items()}
    if isinstance(value, list):
        return [relocated(item, task_folder, shipment, tree) for item in value]
    if not isinstance(value, str) or not value.startswith(("/", "~")):
        return value
    path, (there, here) = Path(os.path.expanduser(value)), task_folder  # noqa: PTH111  takes any text
    if path.is_relative_to(there):
        return str(here / path.relative_to(there))
    if any(path.is_relative_to(shipped) or shipped.is_relative_to(path) for shipped in shipment.paths):
        return str(below(tree, path))
    return value


def read_files(path: Path) -> Files:
    """Return the content of a file, or of all files below a folder; nothing if there is neither."""
    return {_name(file, path): np.fromfile(file, np.uint8) for file in _files_of(path)}


def write_files(path: Path, files: Files) -> None:
    """Write a file, or a folder with files below it, that isn't there."""
    if set(files) != {""}:
        path.mkdir(parents=True)
    for name, content in files.items():
        file = path / name if name else path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as written:
            written.write(content.data)
            written.flush()
            os.fsync(written.fileno())


def replace_folder(folder: Path, files: Files) -> None:
    """Let a folder hold these files and no others, for good; it holds the old ones or the new ones, or isn't there."""
    new, old = (folder.with_name(f".{folder.name}.{age}") for age in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        write_files(new, files)
    except OSError:  # a full disk needs the room
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.is_file() else []


def _name(file: Path, path: Path) -> str:
    return "" if file == path else file.relative_to(path).as_posix()


def _digest(files: Mapping[str, Any]) -> str:
    whole = blake3()
    for name, content in files.items():
        text = name.encode("utf-8", "surrogateescape")
        whole.update(len(text).to_bytes(8, "big") + text + content.nbytes.to_bytes(8, "big"))
        whole.update(content.data)
    return whole.hexdigest()
