"""Fingerprints of data and of backbones that lie in folders: of the content, never of the place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
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
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise IdentityError(f"{path} is {_kind(path)}: data is a plain file, or a folder of plain files")
    if path.is_file():
        with DigestCache(path.parent) as cache:
            return {"": cache.digest(path, path.stat())}
    files = {file.relative_to(path).as_posix(): file for file in _files(path)}
    if not files:
        raise IdentityError(f"no data at {path}: a fingerprint needs a file, or a folder with files; check data.path")
    with DigestCache(path) as cache:
        return {name: cache.digest(file, file.stat()) for name, file in sorted(files.items())}


def _fingerprint(path: Path) -> str:
    digests = file_digests(path)
    if "" in digests:
        return digests[""].hex()
    whole = blake3()
    for name, digest in digests.items():
        encoded = name.encode("utf-8", "surrogateescape")
        whole.update(len(encoded).to_bytes(8, "big") + encoded)
        whole.update(digest)
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, those behind links too.

    Hidden files and folders are none of its content: file managers, git and download tools leave them behind. Raises
    IdentityError for a link to a folder that it lies in, for very many linked folders, and for what is no plain file.
    """
    real = {folder: Path(os.path.realpath(folder))}
    linked = 0
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for child in (Path(parent, name) for name in folders):
            real[child] = real[child.parent] / child.name
            if child.is_symlink():
                real[child] = Path(os.path.realpath(real[child]))
                linked += 1
                _check_link(child, real, linked)
        for name in (name for name in names if not name.startswith(".")):
            file = Path(parent, name)
            if not stat.S_ISREG(file.stat().st_mode):
                raise IdentityError(f"{file} is {_kind(file)}: data is a plain file, or a folder of plain files")
            yield file


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
