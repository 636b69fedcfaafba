"""MLflow's UI on a study, looked at in a browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page
from tests.browser import browser_page
from tests.conftest import MakeProject

from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.report import write_report

NAMES = ".ag-pinned-left-cols-container [col-id='attributes.`Run Name`'] a"
BY_PLACE = """found => found.map(a => [Number(a.closest("[row-index]").getAttribute("row-index")), a.innerText.trim()])
    .sort((a, b) => a[0] - b[0]).map(pair => pair[1])"""


@contextmanager
def ui_of(config_dir: Path) -> Iterator[str]:
    """Yield the address that `assay ui` says, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "training.cli.main", "ui", "--config-dir", str(config_dir), "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            said = server.stdout.readline()
            assert any("Uvicorn running" in line for line in server.stderr), said
            yield said.removeprefix("MLflow UI: ").strip()
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def expand(page: Page, name: str) -> None:
    """Show the runs below a run."""
    run = page.locator(".ag-pinned-left-cols-container [role=row]").filter(has=page.get_by_text(name, exact=True))
    run.locator("button").first.click()


def shown(names: Locator, count: int) -> list[str]:
    """Return the names of the runs in the table, from top to bottom, once there are so many."""
    names.nth(count - 1).wait_for()
    found: list[str] = names.evaluate_all(BY_PLACE)
    return found


def test_a_study_in_the_ui(make_project: MakeProject) -> None:
    """Study, trials and folds nest, with whole names that sort; what trials are judged by is the first column."""
    config_dir = make_project(hpo={"max_trials": 11})
    study = sweep(config_dir)
    refit(config_dir)
    trials = [f"{study.name}_trial-{number:04d}" for number in range(11)]
    refitted = f"{trials[study.best.number]}_refit"
    with ui_of(config_dir) as address, browser_page() as page:
        page.goto(address)
        names = page.locator(NAMES)
        assert shown(names, 1) == [study.name]
        headings = page.locator("[role=columnheader][col-id]").evaluate_all(
            "found => found.map(h => [Number(h.ariaColIndex), h.innerText.trim()]).sort((a, b) => a[0] - b[0])"
        )
        columns = [text for _, text in headings if text in {"valid_loss", "valid_loss_std", "test_loss", "x"}]
        assert columns == ["valid_loss", "valid_loss_std", "test_loss", "x"]
        before = [text for _, text in headings[: [text for _, text in headings].index("valid_loss")]]
        assert set(before) <= {"", "Run Name", "Created", "Metrics"}
        expand(page, study.name)
        assert shown(names, 13) == [study.name, refitted, *reversed(trials)]
        expand(page, trials[10])
        assert sorted(shown(names, 15)[3:5]) == [f"{trials[10]}_fold-0", f"{trials[10]}_fold-1"]
        cut = names.evaluate_all("found => found.filter(a => a.scrollWidth > a.clientWidth).map(a => a.innerText)")
        assert cut == []
        page.locator("[data-testid='sort-header-Run Name']").click()  # descending first
        page.wait_for_url("**orderByKey=tags**")
        page.locator("[data-testid='sort-header-Run Name']").click()
        page.wait_for_url("**orderByAsc=true**")
        page.wait_for_function(
            f"({BY_PLACE})([...document.querySelectorAll({json.dumps(NAMES)})])[0] === {study.name!r}"
        )
        by_name = shown(names, 15)
        assert by_name == sorted(by_name)
        assert by_name[1:3] == [trials[0], f"{trials[0]}_fold-0"]


def test_descriptions_lead_to_the_report(make_project: MakeProject) -> None:
    """The descriptions of study, registered model and version have a link, which opens the report in the UI."""
    config_dir = make_project()
    study = sweep(config_dir)
    model = refit(config_dir)
    write_report(config_dir)
    with ui_of(config_dir) as address, browser_page() as page:
        root = address.partition("#")[0]
        pages = [
            f"{root}#/experiments/1/runs/{study.run_id}?workflowType=machine_learning",
            f"{root}#/models/{model.model_name}",
            f"{root}#/models/{model.model_name}/versions/{model.version}",
        ]
        for place in pages:
            page.goto(place)
            with page.expect_popup() as opened:
                page.get_by_role("link", name="Report of the study").click()
            report = opened.value.frame_locator("iframe")
            report.get_by_role("heading", name=study.name, exact=True).wait_for()
            assert f"/runs/{study.run_id}/artifacts/report/index.html" in opened.value.url
        page.goto(pages[-1])
        said = page.get_by_text(f"Trial {model.trial_number}, objective {study.best.value:.4f}, test loss")
        said.first.wait_for()
