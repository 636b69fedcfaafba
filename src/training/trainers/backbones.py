"""Finds the folder that a transformers backbone is in."""

from __future__ import annotations

from pathlib import Path

from infrastructure.errors import ConfigError
from infrastructure.paths.packages import PACKAGE_PREFIX, package_folder
from infrastructure.paths.utils import configured_path


def resolve_backbone(backbone: str, root_dir: Path | None = None) -> str:
    """Return the absolute folder of a backbone that is on this machine, or the hub name as it is.

    `package:NAME/folder` is a folder that an installed package carries; the package isn't imported. A folder is
    relative to `root_dir`, without one to the working directory. Raises ConfigError if the package or folder is
    missing.
    """
    if backbone.startswith(PACKAGE_PREFIX):
        return str(package_folder(backbone))
    folder = configured_path(root_dir or Path.cwd(), backbone, "train.yaml backbone")
    if folder.is_dir():
        return str(folder.resolve())
    if backbone.startswith((".", "/", "~")) or backbone.count("/") > 1:
        raise ConfigError(
            [f"train.yaml backbone: folder {folder} doesn't exist; allowed: a folder, a hub name, package:NAME/folder"]
        )
    return backbone
