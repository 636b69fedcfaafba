"""`assay status`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.cli.display import leaderboard
from training.cli.json_output import print_json
from training.hpo.execution.status import study_status


def show_status(config_dir: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Show the study's trials by state, and its leaderboard."""
    status = study_status(config_dir, overrides)
    if as_json:
        print_json({**vars(status), "objective": status.objective, "best_trial": status.best and status.best.number})
        return
    console = Console()
    console.print(status.summary, markup=False, highlight=False, soft_wrap=True)
    if status.result is not None:
        console.print(leaderboard(status.result))
