"""Options that several commands share, and the way from a command to its work."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., None])


class Step(Protocol):
    """A function of the layers below."""

    def __call__(self, *arguments: object, **keywords: object) -> object:
        """Do the work."""
        ...


def project_options(function: F) -> F:
    """Add `--config-dir` and the overrides to a command."""
    return project_option(click.argument("overrides", nargs=-1, metavar="[SECTION.KEY=VALUE]...")(function))


def project_option(function: F) -> F:
    """Add `--config-dir` to a command."""
    return click.option(
        "--config-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The project's config folder; by default looked for upwards from here.",
    )(function)


def store_option(function: F) -> F:
    """Add `--config-dir` to a command that asks the tracking store."""
    return click.option(
        "--config-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The project in whose tracking store to look; by default looked for upwards from here.",
    )(function)


def json_option(function: F) -> F:
    """Add `--json` to a command that reports."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")(function)


def workers_option(function: F) -> F:
    """Add `--workers` to a command."""
    return click.option("--workers", type=int, help="Folds at a time, each in its own process.")(function)


def quiet_option(function: F) -> F:
    """Add `--quiet` to a command that trains."""
    return click.option("--quiet", is_flag=True, help="Say only what came of it.")(function)


def force_option(function: F) -> F:
    """Add `--force` to a command."""
    text = "Start over beside what the tracking store has, which is kept."
    return click.option("--force", is_flag=True, help=text)(function)


def with_shortcuts(overrides: tuple[str, ...], **shortcuts: object) -> list[str]:
    """Return the overrides with `section__key=value` shortcuts added for those that were given."""
    given = [f"{name.replace('__', '.')}={value}" for name, value in shortcuts.items() if value is not None]
    return [*overrides, *given]


def run_training_step(path: str, config_dir: Path | None, overrides: Sequence[str], **options: object) -> None:
    """Do what `module:function` does, whose trainer is imported beside it, in the process that trainings come from."""
    step("training.cli.ahead:import_trainer")(config_dir, overrides)
    step(path)(config_dir=config_dir, overrides=overrides, **options)


def step(path: str) -> Step:
    """Import `module:function` now that it is needed: MLflow, Optuna and pandas come with it."""
    module, _, name = path.partition(":")
    return cast("Step", getattr(importlib.import_module(module), name))
