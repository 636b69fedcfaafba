"""Refit: a trial's configuration trained on the whole training split, tested, and registered as champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.hpo.execution.local.model_training import train_model
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import ModelResult
from training.hpo.tracking.model_runs import Protocol


def refit(
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    trial: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ModelResult:
    """Refit a trial, by default the best one, and register its model with the alias `champion`.

    A refit of the same trial that the tracking store has is found, not trained, unless `force` asks for another one
    beside it. Raises ExecutionError if there is no
    such trial, or if the training fails.
    """
    project = open_project(config_dir, overrides)
    protocol = Protocol(stage="hpo_refit", params={}, include_validation=False)
    return train_model(project, trial, protocol, progress or Progress(), force=force, register=True)
