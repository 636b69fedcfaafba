"""Explanations for people: what differs between two studies, trials or configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infrastructure.config.loading import load_project_config
from infrastructure.naming.differences import Difference
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.comparison import Comparison, Description, compare_descriptions, describe_config
from training.hpo.tracking.explain import NearestStudy, describe_run
from training.hpo.tracking.lineage import Link, lineage

SHOWN: Final = 3
"""How many differences a line names."""


def compare(one: str, two: str, config_dir: str | Path | None = None) -> Comparison:
    """Compare two studies, trials or configurations, of which at least one is in the tracking store.

    Each is a project's config folder, the id or name of a run, or the beginning of a study's key hash; runs are looked
    for in the tracking store of the project of `config_dir`. Raises RunNotFoundError, and ProjectNotFoundError.
    """
    folders = [Path(reference) for reference in (one, two) if Path(reference).is_dir()]
    _, found = resolve_project_paths_with_fallback(config_dir=config_dir or next(iter(folders), None))
    setup_mlflow(config_dir=found)
    return compare_descriptions(_describe(one), _describe(two))


def _describe(reference: str) -> Description:
    folder = Path(reference)
    return describe_config(load_project_config(folder)) if folder.is_dir() else describe_run(reference)


def trace(reference: str, config_dir: str | Path | None = None) -> list[Link]:
    """Return the links from a run or registered model back to its data and commit, each checked.

    Raises RunNotFoundError if there is no such run or model in the tracking store of the project.
    """
    root_dir, found = resolve_project_paths_with_fallback(config_dir=config_dir)
    setup_mlflow(config_dir=found)
    return lineage(reference, root_dir)


def new_study_note(nearest: NearestStudy) -> str:
    """Return the line that says why a study is another than one that it resembles."""
    files = f" (changed: {_listed(nearest.changed_files)})" if nearest.changed_files else ""
    return f"a new study: it differs from {nearest.name} in {_listed(nearest.differences)}{files}"


def changed_environment_note(found: Sequence[Difference]) -> str:
    """Return the line that says with what else a study goes on than it was begun with."""
    return f"the study goes on with other code or software than it was begun with: {_listed(found)}"


def other_meaning_note(name: str, found: Sequence[Difference]) -> str:
    """Return the line that says in what the values of an earlier study may mean something else."""
    return f"the trials of {name} inform the sampler alone: their values may mean something else, {_listed(found)}"


def _listed(found: Sequence[object]) -> str:
    shown = "; ".join(str(item) for item in found[:SHOWN])
    more = f"; and {len(found) - SHOWN} more (assay diff tells all)" if len(found) > SHOWN else ""
    return f"{shown}{more}"
