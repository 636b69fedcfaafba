"""Final training: the best hyperparameters, with what `train.final` changes, on training and validation data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.hpo.execution.local.model_training import stage_lease, train_model
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import ModelResult
from training.hpo.tracking.model_runs import Protocol


def train(
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    trial: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ModelResult:
    """Train the final model with a trial's hyperparameters, by default those of the one that is refitted.

    It is registered, and becomes the champion, only with `train.final.register_model`. A final training of the same
    trial that the tracking store has is found, not trained, unless `force` asks for another one beside it. Raises
    ExecutionError if there is no such trial or none is chosen yet, or if the training fails.
    """
    project = open_project(config_dir, overrides)
    final = project.config.train.final
    protocol = Protocol.of_final(final)
    with stage_lease(project, protocol):
        return train_model(project, trial, protocol, progress or Progress(), force=force, register=final.register_model)
