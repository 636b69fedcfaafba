"""`assay best`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from training.cli.display import show_params
from training.cli.json_output import print_json
from training.hpo.execution.best import Ranking, best

SHOWN: Final = 5
"""How many studies are named that aren't comparable."""


def show_best(references: Sequence[str], config_dir: Path | None, top: int, *, as_json: bool) -> None:
    """Show comparable studies, the best first, and which is the champion."""
    ranking = best(references, config_dir, top=top)
    if as_json:
        print_json({**vars(ranking), "champion": ranking.champion and ranking.champion.run_id})
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in ranking_lines(ranking):
        console.print(line)


def ranking_lines(ranking: Ranking) -> list[str]:
    """Return studies a line each, the best first, then those that don't compete, and the champion."""
    lines = [f"{ranking.objective.metric}, {ranking.objective.direction}, median of the best {ranking.top}:"]
    for study in ranking.studies:
        few = f"only {study.complete_count} of the {ranking.top} complete trials that it takes"
        score = few if study.score is None else f"{study.score:.4f}"
        trial = ""
        if study.trial is not None:
            number = f"trial {study.trial.number} of {study.trial_count}"
            trial = f"; the best {study.trial.value:.4f}, {number}  {show_params(study.trial)}"
        lines.append(f"  {study.study_name} ({study.backbone}): {score}{trial}")
    if ranking.mismatched:
        lines.append("not comparable:")
        lines += [f"  {other.study_name}: {other.reason}" for other in ranking.mismatched[:SHOWN]]
    if more := ranking.mismatched[SHOWN:]:
        lines.append(f"  and {len(more)} more (--json tells all)")
    champion = ranking.champion
    lines.append(f"champion: {champion.study_name}" if champion else "no champion: no study has enough complete trials")
    if ranking.choice is not None:
        takes = "`assay refit` registers " if ranking.choice.chosen else ""
        lines.append(f"{takes}{ranking.choice.reason}")
    return lines
