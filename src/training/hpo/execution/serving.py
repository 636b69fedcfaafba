"""What MLflow's servers show of a project: its study in the UI, and the model that is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from training.hpo.execution.project import open_project
from training.hpo.tracking.reports import save_study_view
from training.hpo.tracking.served import example_row, find_model


def study_view(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> str:
    """Keep with the experiment in which columns the project's study is shown, and return the key of this view."""
    project = open_project(config_dir, overrides)
    hpo = project.config.hpo
    return save_study_view(project.context, hpo.objective.metric, list(hpo.search_space))


@dataclass(frozen=True)
class ServedModel:
    """A model's URI, and a row that it can be asked about."""

    uri: str
    question: dict[str, JsonValue]


def model_to_serve(model: str = "champion", config_dir: str | Path | None = None) -> ServedModel:
    """Return a model by its URI, or by its alias or version among the project's; with its input example's first row.

    Raises RunNotFoundError if the tracking store hasn't got it.
    """
    project = open_project(config_dir)
    uri = find_model(model, project.model_name)
    return ServedModel(uri, example_row(uri))
