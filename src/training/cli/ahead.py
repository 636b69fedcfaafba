"""What begins before a command has loaded its libraries."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from infrastructure.config.loading import load_project_config
from infrastructure.errors import AssayError
from infrastructure.executors.local import warm_parent
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from training.execution.preload import preloaded_modules


def import_trainer(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Let the parent of the workers begin to import the project's trainer; faults are told by who comes next."""
    with suppress(AssayError):
        _, found = resolve_project_paths_with_fallback(config_dir=config_dir)
        config = load_project_config(found, overrides)
        if config.executor.type == "local":
            warm_parent(preloaded_modules(config.train.trainer))
