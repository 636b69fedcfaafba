"""The files that trainings read."""

from __future__ import annotations

from pathlib import Path

from infrastructure.config.loading import ProjectConfig
from infrastructure.paths.code import python_files
from infrastructure.paths.utils import configured_path


def training_inputs(config: ProjectConfig, folds_file: Path) -> list[Path]:
    """Return the files and folders of this machine that trainings of a project read, the packages excepted."""
    root_dir = config.root_dir
    named = [config.train.backbone] if config.data.path is None else [config.train.backbone, config.data.path]
    found = [configured_path(root_dir, text, "a path") for text in named]
    return [*python_files(root_dir), *(path for path in [*found, folds_file] if path.exists())]
