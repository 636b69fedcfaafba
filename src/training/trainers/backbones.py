"""Finds the folder that a transformers backbone is in."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from infrastructure.errors import ConfigError

PACKAGE_PREFIX = "package:"


def resolve_backbone(backbone: str, root_dir: Path | None = None) -> str:
    """Return the absolute folder of a backbone that is on this machine, or the hub name as it is.

    `package:NAME/folder` is a folder that an installed package carries; the package isn't imported. A folder is
    relative to `root_dir`, without one to the working directory. Raises ConfigError if the package or folder is
    missing.
    """
    if backbone.startswith(PACKAGE_PREFIX):
        return str(_package_folder(backbone))
    folder = (root_dir or Path.cwd()) / Path(backbone).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if backbone.startswith((".", "/", "~")) or backbone.count("/") > 1:
        raise ConfigError(
            [f"train.yaml backbone: folder {folder} doesn't exist; allowed: a folder, a hub name, package:NAME/folder"]
        )
    return backbone


def _package_folder(backbone: str) -> Path:
    name, _, inside = backbone.removeprefix(PACKAGE_PREFIX).partition("/")
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
