"""Makes docs/images anew from a real study: the live display, the report, and MLflow's UI on it.

Needs Chromium. Run by hand, `.venv/bin/python docs/make_screenshots.py`, and look at each picture before it is kept.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.progress import Progress as Bar

from training.cli.display import LiveProgress, live_bars
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.report import write_report
from training.hpo.execution.results import StudyResult
from training.project_template import create_project

IMAGES = Path(__file__).with_name("images")
PORT = 5793
COLUMNS = 110
"""Characters that a line of the terminal holds."""
FETCHED_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""What rich would have a browser fetch from elsewhere; any fixed-width font will do."""
LINES = 14
"""Lines above the bars that are shown."""


class Photographed(LiveProgress):
    """The live display, of which a picture is taken once when a fold of this trial reports."""

    def __init__(self, console: Console, bar: Bar, number: int) -> None:
        super().__init__(console, bar)
        self._number = number
        self._printed: list[str] = []
        self._done = False

    def message(self, text: str) -> None:
        """Print a line and keep it for the picture."""
        super().message(text)
        self._printed.append(self.line(text))

    def fold_reported(self, number: int, fold_idx: int, step: int, value: float) -> None:
        """Take the picture."""
        super().fold_reported(number, fold_idx, step, value)
        if number < self._number or len(self._folds) < 2 or self._done:
            return
        self._done = True
        terminal = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        for text in self._printed[-LINES:]:
            terminal.print(text, markup=False, highlight=False, soft_wrap=True)
        terminal.print(self._bar.get_renderable())
        picture = terminal.export_svg(title="assay sweep")
        (IMAGES / "live-display.svg").write_text(FETCHED_FONTS.sub("", picture))


@contextmanager
def ui(config_dir: Path) -> Iterator[str]:
    """Yield the address that `assay ui` says, once it answers."""
    command = [sys.executable, "-m", "training.cli.main", "ui", "--config-dir", str(config_dir), "--port", str(PORT)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            address = server.stdout.readline().removeprefix("MLflow UI: ").strip()
            assert any("Uvicorn running" in line for line in server.stderr)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def photograph_ui(page: Page, address: str, study: StudyResult) -> None:
    """Take a picture of the study with its newest complete trial opened, and one of the champion."""
    page.goto(address)
    page.get_by_text("MLflow Assistant").wait_for()
    page.get_by_role("button", name="Close").last.click()
    newest = max(trial.number for trial in study.leaderboard())
    for name in (study.name, f"{study.name}_trial-{newest:04d}"):
        run = page.locator("[role=row]").filter(has=page.get_by_text(name, exact=True))
        run.locator("button").first.click()
    page.get_by_text(f"{name}_fold-2").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_000)
    page.screenshot(path=IMAGES / "mlflow-study.png")
    page.goto(f"{address.partition('#')[0]}#/models/function/versions/1")
    page.get_by_role("link", name="Report of the study").wait_for()
    page.screenshot(path=IMAGES / "mlflow-model.png", clip={"x": 200, "y": 0, "width": 1300, "height": 270})


def main() -> None:
    """Make the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        config_dir = Path(folder) / "diabetes" / "config"
        create_project(config_dir.parent, "function")
        console = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS)
        with live_bars(console) as bar:
            study = sweep(config_dir, progress=Photographed(console, bar, 7))
        refit(config_dir)
        report = write_report(config_dir)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1500, "height": 760})
        page.goto(report.as_uri())
        page.wait_for_selector("[data-figures]")
        page.screenshot(
            path=IMAGES / "report.png", clip={"x": 170, "y": 0, "width": 1160, "height": 1_800}, full_page=True
        )
        with ui(config_dir) as address:
            photograph_ui(page, address, study)
        browser.close()
    for image in sorted(IMAGES.iterdir()):
        print(f"{image.name}: {image.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
