"""`assay submit`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from training.hpo.execution.submission import azure_submission


def submit_sweep(config_dir: Path | None, overrides: Sequence[str], *, dry_run: bool) -> None:
    """Print the job, or submit it and say where it can be watched."""
    submission = azure_submission(config_dir, overrides)
    if dry_run:
        click.echo(submission.text, nl=False)
        return
    click.echo(f"submitted: {submission.start()}")
