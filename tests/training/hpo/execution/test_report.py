"""The page about a study."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.browser import CHROMIUM, NO_CHROMIUM
from tests.conftest import MakeProject

from infrastructure.errors import ExecutionError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.runs import read_text
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.project import open_project
from training.hpo.execution.report import render, savings, write_report
from training.hpo.execution.status import StudyStatus
from training.hpo.figures import confidence
from training.hpo.records import FoldRecord, TrialRecord, TrialState

FIVE_MEGABYTES = 5_000_000
X = {"type": "choice", "values": [0.1, 0.25, 0.6, 0.9]}


def record(number: int, state: TrialState = "complete", folds: Sequence[float] = (0.5, 0.7)) -> TrialRecord:
    """Return a trial whose folds took two seconds each."""
    found = {i: FoldRecord(metrics={"loss": value}, curve={1: value}, seconds=2.0) for i, value in enumerate(folds)}
    mean = sum(folds) / len(folds) if folds else None
    return TrialRecord(
        number=number,
        trial_key_hash=f"{number:064x}",
        params={"x": number % 100 / 100},
        state=state,
        value=mean,
        folds=found,
        failure="RuntimeError: <b>the function</b> gave up" if state == "failed" else "",
    )


def study(size: int) -> tuple[TrialRecord, ...]:
    """Return the trials of a study, some of them pruned, failed and answered."""
    trials = []
    for number in range(size):
        kinds: dict[int, TrialRecord] = {
            1: record(number, "pruned", [0.9 + number % 7 / 70]),
            2: record(number, "failed", []),
            3: record(number).model_copy(update={"answered_by": 0}),
        }
        whole = record(number, folds=(0.4 + number % 13 / 26, 0.5 + number % 11 / 22))
        trials.append(kinds.get(number % 6, whole))
    return tuple(trials)


def page_of(config_dir: Path, trials: tuple[TrialRecord, ...]) -> str:
    """Return the page of a project's study, as if it had these trials."""
    project = open_project(config_dir)
    status = StudyStatus(
        name="a-study",
        study_key_hash=project.context.study_key_hash,
        run_id="0" * 32,
        objectives=project.config.hpo.objectives,
        max_trials=len(trials),
        trials=trials,
        trial_run_ids=tuple(f"{number:032x}" for number in range(len(trials))),
    )
    return render(project, status)


def test_report_of_a_sweep(make_project: MakeProject) -> None:
    """The page says what came of each trial, and is kept with the study's run, which says where it is."""
    modes = {"type": "choice", "values": ["learn", "again", "raise"]}
    hpo = {"search_space": {"x": X, "mode": modes}, "max_trials": 24, "fold_pruner": {"type": "aggressive"}}
    config_dir = make_project(hpo=hpo)
    with pytest.raises(ExecutionError, match="has no trials yet: run `assay sweep` first"):
        write_report(config_dir)
    result = sweep(config_dir)
    assert {trial.state for trial in result.trials} == {"complete", "pruned", "failed"}
    assert any(trial.answered_by is not None for trial in result.trials)
    page = write_report(config_dir)
    text = page.read_text()
    assert f"trial {result.best.number}" in text
    assert "RuntimeError: the function gave up" in text
    titles = re.findall(r"<h2>(.*?)</h2><div class=", text)
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    kinds = [figure["data"][0]["type"] for figure in drawn]
    assert dict(zip(titles, kinds, strict=True)) == {
        "Optimization history": "scatter",
        "Hyperparameter importances": "bar",
        "Parallel coordinates": "scatter",
        "Slices": "scatter",
        "Folds of the best trials": "box",
        "Seconds of each trial": "bar",
    }
    assert result.study_key_hash in text
    assert read_text(result.run_id, "report/index.html") == text
    assert "report/index.html" in queries.get_run(result.run_id).tags[tags.NOTE]


def test_savings() -> None:
    """Folds that were denied, and trials that were answered, against a case that was counted by hand."""
    trials = [
        record(0),
        record(1, "pruned", [0.9]),
        record(2).model_copy(update={"answered_by": 0}),
        record(3, "failed", []),
    ]
    found = savings(trials)
    assert (found.folds_trained, found.folds_pruned, found.trials_answered) == (3, 1, 1)
    assert (found.seconds_trained, found.seconds_pruned, found.seconds_answered) == (6.0, 2.0, 4.0)


def test_confidence() -> None:
    """Half an interval by hand: t(0.975, 2) = 4.3027, variance 0.01, 1/3 + 1/2 of it."""
    assert confidence([0.4, 0.5, 0.6]) == pytest.approx(4.30265 * (0.01 * (1 / 3 + 1 / 2)) ** 0.5, rel=1e-5)
    assert confidence([0.4]) is None


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_page_needs_nothing_but_itself(make_project: MakeProject, tmp_path: Path, size: int) -> None:
    """A page is small, names no other source, and shows all its figures in a browser without a network."""
    text = page_of(make_project(), study(size))
    assert len(text.encode()) < FIVE_MEGABYTES
    assert re.findall(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?!data:)""", text) == []
    assert "<b>the function</b>" not in text
    figures = len(re.findall(r'id="figure-\d+"', text))
    assert figures == (6 if size > 1 else 3)
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    page = tmp_path / "page.html"
    page.write_text(text)
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=60000"]
    done = subprocess.run(
        [CHROMIUM, *switches, *offline, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert f'data-figures="{figures}"' in done.stdout
    assert done.stdout.count('class="main-svg"') >= figures
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_credentials_are_not_in_the_page(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the environment as a credential doesn't get into the page by a trial's failure."""
    monkeypatch.setenv("SERVICE_TOKEN", "sesame-9f8e7d6c")
    trials = (record(0), record(1, "failed", []).model_copy(update={"failure": "no entry for sesame-9f8e7d6c"}))
    text = page_of(make_project(), trials)
    assert "no entry for ***" in text
    assert "sesame-9f8e7d6c" not in text
    assert json.loads(re.search(r'id="figures">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
