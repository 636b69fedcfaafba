"""What is kept with a study's run for people to read."""

from __future__ import annotations

from pathlib import Path

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.runs import RunContent


def keep_report(study_run_id: str, page: Path, note: str) -> None:
    """Keep a page with a study's run, below the name of its folder, and show a note as the run's description."""
    runs.log_artifacts(study_run_id, page.parent, page.parent.name)
    runs.write_run(study_run_id, RunContent(tags={tags.NOTE: note}))
