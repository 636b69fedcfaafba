"""Folders of our own: nothing in them leads elsewhere, and what is deleted is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infrastructure.errors import OutputError, UnsafePathError


def check_own(folder: Path, ours: Sequence[str] = ()) -> None:
    """See that a folder of ours, what lies in it, and its folders whose names begin so, are plain folders and files.

    Through a link we would write or delete elsewhere, and reading a pipe never ends. What isn't there is fine. Raises
    UnsafePathError naming the first fault.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        _refuse(folder)
    if not folder.exists():
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.name.startswith(tuple(ours)):
                    check_own(Path(entry.path), ours)
            elif not entry.is_file(follow_symlinks=False):
                _refuse(Path(entry.path))


def _refuse(path: Path) -> None:
    what = f"a link to {path.readlink()}" if path.is_symlink() else "no plain file or folder"
    raise UnsafePathError(f"{path} is {what}, and nothing is written through it; remove it, or give another output_dir")


def delete_folder(folder: Path) -> None:
    """Delete a folder of ours with all that is in it, of links the links alone; nothing happens if it isn't there.

    Raises UnsafePathError if the folder is a link, and OutputError if something of it can't be deleted.
    """
    if folder.is_symlink():
        _refuse(folder)
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{error.filename or folder} can't be deleted: {error.strerror}") from error
