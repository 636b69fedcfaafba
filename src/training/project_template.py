"""New projects from the templates that Assay carries: what `assay init` writes."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from infrastructure.config.problems import nearest
from infrastructure.errors import ConfigError
from training.resume_data import write_resume_data

DEFAULT_TEMPLATE: Final = "resume-ner"

_DATA_SIZES: Final = {"train": 240, "test": 80}
_DATA_SEED: Final = 7


def template_names() -> list[str]:
    """Return the names of the templates, in alphabetical order."""
    return sorted(item.name for item in _templates().iterdir() if item.is_dir())


def create_project(folder: Path, template: str = DEFAULT_TEMPLATE) -> list[Path]:
    """Write a template's configuration and its data to a new or empty folder; return the files that were written.

    Raises ConfigError for an unknown template, and for a folder that holds something already.
    """
    if template not in (names := template_names()):
        raise ConfigError([f"template {template!r} is unknown; {nearest(template, names)}"])
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f"{folder} is a file; give the name of a new or an empty folder"])
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError([f"{folder} is not empty; give the name of a new or an empty folder"])
    written = _copy(_templates() / template, folder)
    return [*written, *write_resume_data(folder / "data", _DATA_SIZES, _DATA_SEED)]


def _templates() -> Traversable:
    return resources.files("training") / "cli" / "templates"


def _copy(source: Traversable, target: Path) -> list[Path]:
    """Copy a folder of text files and return the copies in alphabetical order."""
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for item in sorted(source.iterdir(), key=lambda entry: entry.name):
        path = target / item.name
        if item.is_dir():
            written += _copy(item, path)
        else:
            path.write_bytes(item.read_bytes())
            written.append(path)
    return written
