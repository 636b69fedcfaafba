"""`assay export`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.hpo.execution.optuna_exchange import write_optuna_study


def export(url: str, config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Write the study to an Optuna storage and say what was written."""
    name, count = write_optuna_study(url, config_dir, overrides)
    Console().print(f"{count} trials written as the study {name}", markup=False, highlight=False, soft_wrap=True)
