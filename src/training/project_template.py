"""New projects from the templates that Assay carries: what `assay init` writes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from infrastructure.config.problems import nearest
from infrastructure.errors import ConfigError
from training.resume_data import write_passages, write_resume_data
from training.table_data import write_diabetes, write_tumours

DEFAULT_TEMPLATE: Final = "resume-ner"
TEMPLATES: Final[dict[str, Callable[[Path], list[Path]]]] = {
    DEFAULT_TEMPLATE: lambda data: write_resume_data(data, {"train": 240, "test": 80}, seed=7),
    "text-classification": lambda data: write_passages(data, {"train": 300, "test": 100}, seed=7),
    "tabular": write_tumours,
    "function": write_diabetes,
}
"""What writes the data of each template."""

_COMMON: Final = "common"
_NAME: Final = "PROJECT_NAME"


def create_project(folder: Path, template: str = DEFAULT_TEMPLATE) -> list[Path]:
    """Write a template's configuration and its data to a new or empty folder; return the files that were written.

    Raises ConfigError for an unknown template, and for a folder that holds something already.
    """
    if template not in TEMPLATES:
        raise ConfigError([f"template {template!r} is unknown; {nearest(template, TEMPLATES)}"])
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f"{folder} is a file; give the name of a new or an empty folder"])
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError([f"{folder} is not empty; give the name of a new or an empty folder"])
    copies = [copy for part in (template, _COMMON) for copy in _copy(_templates() / part, folder, template)]
    return [*copies, *TEMPLATES[template](folder / "data")]


def _templates() -> Traversable:
    return resources.files("training") / "cli" / "templates"


def _copy(source: Traversable, target: Path, name: str) -> list[Path]:
    """Copy a folder of text files, in which the project's name stands, and return the copies in alphabetical order."""
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for item in sorted(source.iterdir(), key=lambda entry: entry.name):
        path = target / item.name
        if item.is_dir():
            written += _copy(item, path, name)
        else:
            path.write_text(item.read_text(encoding="utf-8").replace(_NAME, name), encoding="utf-8", newline="\n")
            written.append(path)
    return written
