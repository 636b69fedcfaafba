"""Explanations for people: what differs between two studies, trials or configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infrastructure.config.loading import load_project_config
from infrastructure.naming.differences import Difference, differences
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.tracking.explain import Description, describe_config, describe_run


@dataclass(frozen=True)
class Comparison:
    """The differences that make two things have different keys, and those that don't matter."""

    identity: tuple[Difference, ...]
    other: tuple[Difference, ...]


def compare(one: str, two: str, config_dir: str | Path | None = None) -> Comparison:
    """Compare two studies, trials or configurations.

    Each is a project's config folder, the id or name of a run, or the beginning of a study's key hash; runs are looked
    for in the tracking store of the project of `config_dir`. Raises RunNotFoundError.
    """
    folders = [Path(reference) for reference in (one, two) if Path(reference).is_dir()]
    if len(folders) < 2:
        setup_mlflow(config_dir=config_dir if config_dir is not None else next(iter(folders), None))
    before, after = (_describe(reference) for reference in (one, two))
    return Comparison(
        tuple(differences(before.identity, after.identity)), tuple(differences(before.other, after.other))
    )


def _describe(reference: str) -> Description:
    folder = Path(reference)
    return describe_config(load_project_config(folder)) if folder.is_dir() else describe_run(reference)


def new_study_note(name: str, found: Sequence[Difference], limit: int = 3) -> str:
    """Return the line that says why a study is another than one that it resembles."""
    shown = "; ".join(str(difference) for difference in found[:limit])
    more = f"; and {len(found) - limit} more (assay diff tells all)" if len(found) > limit else ""
    return f"a new study: it differs from {name} in {shown}{more}"
