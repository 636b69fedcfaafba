"""Fingerprints of data and of backbones that lie in folders: of the content, never of the place."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Final

from blake3 import blake3

from infrastructure.errors import IdentityError
from infrastructure.naming.digest_cache import DigestCache
from infrastructure.paths.packages import PACKAGE_PREFIX, package_folder
from infrastructure.paths.utils import configured_path

MOST_LINKS: Final = 1_000
"""Linked folders below one folder; links to folders of links would double their number at each step."""

CONTENT: Final = "blake3:"
"""What the identity of content begins with, and no name."""


def fingerprint(path: Path) -> str:
    """Return the BLAKE3 of a file, or of all files in a folder in order of their relative names, in 64 hex digits.

    The same files in another folder have the same fingerprint; a file's own name counts only inside a folder, and
    hidden files in it don't count. The second time a file costs a `stat`, unless it was changed. Raises IdentityError
    if there is nothing at `path`, or something that can't be read.
    """
    try:
        return _fingerprint(path)
    except OSError as error:
        raise IdentityError(f"{error.filename or path} can't be read for a fingerprint: {error.strerror}") from error


def file_digests(path: Path) -> dict[str, bytes]:
    """Return the BLAKE3 of a file, or of all files in a folder, by their relative names in order; a file has none.

    Raises IdentityError and OSError as `fingerprint` does.
    """
    if path.is_file():
        with DigestCache(path.parent) as cache:
            return {"": cache.digest(path.name, path.stat())}
    with DigestCache(path) as cache:
        return {name: cache.digest(name, status) for name, status in _files(path)}


def _fingerprint(path: Path) -> str:
    if path.is_file():
        return file_digests(path)[""].hex()
    with DigestCache(path) as cache:
        files = _files(path)
        known = cache.whole(files)
        if known is not None:
            return known
        whole = blake3()
        for name, status in files:
            encoded = name.encode("utf-8", "surrogateescape")
            whole.update(len(encoded).to_bytes(8, "big") + encoded)
            whole.update(cache.digest(name, status))
        found = whole.hexdigest()
        cache.learn_whole(files, found)
    return found


def _files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Return the relative names of the files below a folder, those behind links too, in order, with their states.

    Hidden files and folders are none of its content: file managers, git and download tools leave them behind. Raises
    IdentityError for a folder without files, a link to a folder that it lies in, very many linked folders, and for
    what is no plain file.
    """
    if folder.exists() and not folder.is_dir():
        raise IdentityError(f"{folder} is {_kind(folder)}: data is a plain file, or a folder of plain files")
    real = {folder: Path(os.path.realpath(folder))}
    linked = 0
    found: list[tuple[str, os.stat_result]] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for child in (Path(parent, name) for name in folders):
            real[child] = real[child.parent] / child.name
            if child.is_symlink():
                real[child] = Path(os.path.realpath(real[child]))
                linked += 1
                _check_link(child, real, linked)
        below = "" if parent == str(folder) else f"{Path(parent).relative_to(folder).as_posix()}/"
        for name in names:  # of which there may be very many
            if not name.startswith("."):
                status = os.stat(f"{parent}/{name}")  # noqa: PTH116  a Path for each costs more than the question
                if not stat.S_ISREG(status.st_mode):
                    file = Path(parent, name)
                    raise IdentityError(f"{file} is {_kind(file)}: data is a plain file, or a folder of plain files")
                found.append((below + name, status))
    if not found:
        raise IdentityError(f"no data at {folder}: a fingerprint needs a file, or a folder with files; check data.path")
    found.sort(key=itemgetter(0))
    return found


def _check_link(link: Path, real: Mapping[Path, Path], count: int) -> None:
    """Raise IdentityError for a link that makes the walk endless, or too long; `real` is where each folder lies."""
    if count > MOST_LINKS:
        raise IdentityError(
            f"{next(iter(real))} holds more than {MOST_LINKS:,} linked folders; copy them, or use fewer"
        )
    if any(real[passed].is_relative_to(real[link]) for passed in link.parents if passed in real):
        raise IdentityError(f"{link} links to a folder that it lies in, so its content has no end")


def _kind(path: Path) -> str:
    """Say what something is that is neither a file nor a folder."""
    mode = path.stat().st_mode
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def backbone_identity(backbone: str, root_dir: Path) -> str:
    """Return what a backbone is known by: the content of the folder that it names, otherwise its name.

    Raises IdentityError or ConfigError if it names a folder that isn't there.
    """
    if backbone.startswith(PACKAGE_PREFIX):
        return f"{CONTENT}{fingerprint(package_folder(backbone))}"
    folder = configured_path(root_dir, backbone, "train.yaml backbone")
    if not folder.is_dir() and not backbone.startswith((".", "/", "~")):
        if backbone.startswith(CONTENT):
            raise IdentityError(f"backbone {backbone!r:.80} would pass for a folder of that content; name another one")
        return backbone
    if not folder.is_dir():
        raise IdentityError(f"no backbone at {folder}: give a folder that exists, a hub name, or package:NAME/folder")
    return f"{CONTENT}{fingerprint(folder)}"
