"""Fingerprints of data and of backbones that lie in folders: of the content, never of the place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from infrastructure.errors import IdentityError
from infrastructure.naming.digest_cache import DigestCache
from infrastructure.paths.packages import PACKAGE_PREFIX, package_folder


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
    """Yield the files below a folder, those behind links too; raise IdentityError for a link to where it lies in.

    Hidden files and folders are none of its content: file managers, git and download tools leave them behind.
    """
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            link = Path(parent, name)
            if link.is_symlink() and Path(parent).resolve().is_relative_to(link.resolve()):
                raise IdentityError(f"{link} links to a folder that it lies in, so its content has no end")
        for name in (name for name in names if not name.startswith(".")):
            file = Path(parent, name)
            if stat.S_ISREG(file.stat().st_mode):
                yield file


def backbone_identity(backbone: str, root_dir: Path) -> str:
    """Return what a backbone is known by: the content of the folder that it names, otherwise its name.

    Raises IdentityError or ConfigError if it names a folder that isn't there.
    """
    if backbone.startswith(PACKAGE_PREFIX):
        return f"blake3:{fingerprint(package_folder(backbone))}"
    folder = (root_dir / Path(backbone).expanduser()).resolve()
    if not folder.is_dir() and not backbone.startswith((".", "/", "~")):
        return backbone
    if not folder.is_dir():
        raise IdentityError(f"no backbone at {folder}: give a folder that exists, a hub name, or package:NAME/folder")
    return f"blake3:{fingerprint(folder)}"
