"""`assay sweep --dry-run`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.cli.display import duration
from training.hpo.execution.plan import plan_sweep


def show_plan(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Say what a sweep would do."""
    plan = plan_sweep(config_dir, overrides)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{plan.name}: {plan.trials_done} trials are in the tracking store and would not be run again")
    if plan.trials_interrupted:
        console.print(f"{plan.trials_interrupted} that were cut short would be gone on with")
    at_a_time = f"{plan.workers} at a time" if plan.workers > 1 else "one after another"
    console.print(f"{plan.trials_left} would be run, of up to {plan.fold_count} fold(s) each, {at_a_time}")
    if plan.seconds is not None and plan.trials_left:
        console.print(f"about {duration(plan.seconds)} if they are like those that are there")
