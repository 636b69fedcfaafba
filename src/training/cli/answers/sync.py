"""`assay sync`, once the libraries are loaded."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from training.hpo.execution.sync import sync


def send_waiting(config_dir: Path | None) -> None:
    """Send what waits, and say of which studies it was."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    sent = 0
    for name, count in sync(config_dir):
        console.print(f"{name}: {count} records sent")
        sent += count
    if not sent:
        console.print("nothing waits")
