"""Options that several commands share, and the way from a command to its work."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import click

SHORTCUTS: Final = "assay.shortcuts"

F = TypeVar("F", bound=Callable[..., None])


class Step(Protocol):
    """A function of the layers below."""

    def __call__(self, *arguments: object, **keywords: object) -> object:
        """Do the work."""
        ...


def project_options(function: F) -> F:
    """Add `--config-dir` and the overrides to a command."""
    return project_option(click.argument("overrides", nargs=-1, metavar="[SECTION.SETTING=VALUE]...")(function))


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


def shortcut(option: str, key: str, kind: Any, text: str) -> Callable[[F], F]:  # noqa: ANN401
    """Return what adds an option to a command that is an override of one key."""

    def keep(context: click.Context, _: click.Parameter, value: object) -> None:
        if value is not None:
            context.meta.setdefault(SHORTCUTS, []).append(f"{key}={value}")

    return click.option(option, type=kind, help=text, expose_value=False, callback=keep)


def executor_options(function: F) -> F:
    """Add `--executor` and `--ray-address` to a command that trains."""
    kinds = click.Choice(["local", "ray"])
    text = "The Ray cluster, HOST:PORT or auto; by default one on this machine."
    function = shortcut("--ray-address", "executor.ray_address", str, text)(function)
    return shortcut("--executor", "executor.type", kinds, "Where trainings run.")(function)


def workers_option(function: F) -> F:
    """Add `--workers` to a command, and where they are."""
    text = "Folds at a time, each in its own process."
    return shortcut("--workers", "hpo.workers", int, text)(executor_options(function))


def quiet_option(function: F) -> F:
    """Add `--quiet` to a command that trains."""
    return click.option("--quiet", is_flag=True, help="Say only what came of it.")(function)


def dry_run_option(function: F) -> F:
    """Add `--dry-run` to a command."""
    text = "Say what would be run and what is there already, and run nothing."
    return click.option("--dry-run", is_flag=True, help=text)(function)


def force_option(function: F) -> F:
    """Add `--force` to a command."""
    text = "Start over beside what the tracking store has, which is kept."
    return click.option("--force", is_flag=True, help=text)(function)


def with_shortcuts(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the command that is being run, with those that were given as options."""
    return [*overrides, *click.get_current_context().meta.get(SHORTCUTS, ())]


def run_training_step(path: str, config_dir: Path | None, overrides: Sequence[str], **options: object) -> None:
    """Do what `module:function` does, whose trainer is imported beside it, in the process that trainings come from."""
    chosen = with_shortcuts(overrides)
    step("training.cli.ahead:import_trainer")(config_dir, chosen)
    step(path)(config_dir=config_dir, overrides=chosen, **options)


def step(path: str) -> Step:
    """Import `module:function` now that it is needed: MLflow, Optuna and pandas come with it."""
    module, _, name = path.partition(":")
    return cast("Step", getattr(importlib.import_module(module), name))
