"""Refit: a trial's configuration trained on the whole training split, tested, and registered as champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infrastructure.errors import ExecutionError
from training.hpo.execution.local.measuring import measured_choice
from training.hpo.execution.local.model_training import stage_lease, train_model
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import ModelResult
from training.hpo.tracking.latencies import keep_reason
from training.hpo.tracking.model_runs import REFIT


def refit(
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    trial: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ModelResult:
    """Refit a trial, by default the one that the project's selection chooses, and register it as `champion`.

    A selection by latency refits all its candidates and measures them. A refit of the same trial that the tracking
    store has is found, not trained, unless `force` asks for another one beside it. Raises ExecutionError if there is no
    such trial, or if the training fails.
    """
    project = open_project(config_dir, overrides)
    show = progress or Progress()
    with stage_lease(project, REFIT):
        if trial is not None:
            return train_model(project, trial, REFIT, show, force=force, register=True)
        choice = measured_choice(project, show, force=force)
        if choice.chosen is None:
            raise ExecutionError(f"{project.run_name}: {choice.reason}")
        hpo = project.config.hpo
        is_measured = hpo.selection is not None and len(choice.candidates) > 1  # and was trained for it
        result = train_model(project, choice.chosen.number, REFIT, show, force=force and not is_measured, register=True)
        if hpo.selection is not None or hpo.further_objectives is not None:
            show.message(f"chosen: {choice.reason}")
            keep_reason(result.run_id, choice.reason)
    return result
