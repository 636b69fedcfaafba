"""Folders that installed packages carry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infrastructure.errors import ConfigError

PACKAGE_PREFIX: Final = "package:"


def package_folder(backbone: str) -> Path:
    """Return the folder that an installed package carries and `package:NAME/folder` names; nothing is imported.

    Raises ConfigError if there is no such package or folder.
    """
    name, _, inside = backbone.removeprefix(PACKAGE_PREFIX).partition("/")
    if inside.startswith("/") or ".." in inside.split("/"):
        raise ConfigError(
            [f"train.yaml backbone: {backbone!r} leads out of the package; allowed: package:NAME/folder, without '..'"]
        )
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            [f"train.yaml backbone: {backbone!r} needs the package {name!r}, which is not installed; pip install it"]
        )
    for location in spec.submodule_search_locations:
        folder = Path(location) / inside
        if folder.is_dir():
            return folder.resolve()
    present = sorted(
        path.name
        for location in spec.submodule_search_locations
        for path in Path(location).iterdir()
        if path.is_dir() and not path.name.startswith(("_", "."))
    )
    raise ConfigError(
        [f"train.yaml backbone: package {name!r} has no folder {inside!r}; folders: {', '.join(present) or 'none'}"]
    )
