"""`assay best`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.cli.display import show_params
from training.cli.json_output import print_json
from training.hpo.execution.best import Ranking, best


def show_best(references: Sequence[str], config_dir: Path | None, *, as_json: bool) -> None:
    """Show comparable studies, the best first."""
    ranking = best(references, config_dir)
    if as_json:
        print_json(ranking)
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in ranking_lines(ranking):
        console.print(line)


def ranking_lines(ranking: Ranking) -> list[str]:
    """Return studies a line each, the best first."""
    lines = [f"{ranking.objective.metric}, {ranking.objective.direction}:"]
    for study in ranking.studies:
        found = "no complete trial"
        if study.trial is not None:
            number = f"trial {study.trial.number} of {study.trial_count}"
            found = f"{study.trial.value:.4f}  {number}  {show_params(study.trial)}"
        lines.append(f"  {study.study_name} ({study.backbone}): {found}")
    return lines
