"""`assay sweep --dry-run` and `assay run --dry-run`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from training.cli.display import duration
from training.hpo.execution.plan import SweepPlan, plan_run, plan_sweep


def show_plan(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Say what a sweep would do."""
    plan = plan_sweep(config_dir, overrides)
    _show([*_sweep_lines(plan), *_time_lines(plan.seconds if plan.trials_left else None)])


def show_whole_plan(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Say what the whole way would do."""
    plan = plan_run(config_dir, overrides)
    rest = (
        f"then {' and '.join(plan.trainings)} of the best" if plan.trainings else "refit and final training are there"
    )
    is_left = plan.sweep.trials_left or plan.trainings
    _show([*_sweep_lines(plan.sweep), rest, *_time_lines(plan.seconds if is_left else None)])


def _sweep_lines(plan: SweepPlan) -> Iterator[str]:
    yield f"{plan.name}: {plan.trials_done} trials are in the tracking store and would not be run again"
    if plan.trials_interrupted:
        yield f"{plan.trials_interrupted} that were cut short would be gone on with"
    at_a_time = f"{plan.workers} at a time" if plan.workers > 1 else "one after another"
    yield f"{plan.trials_left} would be run, of up to {plan.fold_count} fold(s) each, {at_a_time}"


def _time_lines(seconds: float | None) -> Iterator[str]:
    if seconds is not None:
        yield f"about {duration(seconds)} if they are like those that are there"


def _show(lines: Sequence[str]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in lines:
        console.print(line)
