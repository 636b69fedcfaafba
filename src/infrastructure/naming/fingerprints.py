"""Fingerprints of data and of backbones that lie in folders: of the content, never of the place."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from infrastructure.errors import IdentityError


def fingerprint(path: Path) -> str:
    """Return the BLAKE3 of a file, or of all files in a folder in order of their relative names, in 64 hex digits.

    The same files in another folder have the same fingerprint; a file's own name counts only inside a folder.
    Raises IdentityError if there is nothing at `path`.
    """
    if path.is_file():
        return _file_digest(path).hex()
    files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).as_posix())
    if not files:
        raise IdentityError(f"no data at {path}: a fingerprint needs a file, or a folder with files; check data.path")
    whole = blake3()
    for file in files:
        name = file.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
        whole.update(len(name).to_bytes(8, "big") + name + _file_digest(file))
    return whole.hexdigest()


def _file_digest(path: Path) -> bytes:
    return blake3(max_threads=blake3.AUTO).update_mmap(path).digest()


def backbone_identity(backbone: str, root_dir: Path) -> str:
    """Return what a backbone is known by: the content of the folder that it names, otherwise its name."""
    folder = (root_dir / Path(backbone).expanduser()).resolve()
    if not folder.is_dir() and not backbone.startswith((".", "/", "~")):
        return backbone
    if not folder.is_dir():
        raise IdentityError(f"no backbone at {folder}: give a folder that exists, a hub name, or package:NAME/folder")
    return f"blake3:{fingerprint(folder)}"
