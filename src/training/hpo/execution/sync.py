"""Sending what waits on disk for the tracking store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infrastructure.config.loading import load_project_config
from infrastructure.paths.utils import output_folder, resolve_project_paths_with_fallback
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.tracking.waiting import send_waiting


def sync(config_dir: str | Path | None = None) -> Iterator[tuple[str, int]]:
    """Send what the project's studies did while the store was away; yield each study's name and its records' count.

    Raises StoreUnreachableError if the store doesn't answer.
    """
    root_dir, found = resolve_project_paths_with_fallback(config_dir=config_dir)
    config = load_project_config(found)
    setup_mlflow(config_dir=found)
    yield from send_waiting(output_folder(root_dir, config.paths.output_dir))
