"""The project's own code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def python_files(root_dir: Path) -> Iterator[Path]:
    """Yield the project's own Python files: its modules, and those of its packages, which have an `__init__.py`."""
    for entry in root_dir.iterdir():
        if entry.suffix == ".py" and entry.is_file():
            yield entry
        elif entry.is_dir() and not entry.is_symlink() and (entry / "__init__.py").is_file():
            yield from python_files(entry)
