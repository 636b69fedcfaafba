"""A study that is begun in one place and finished in another, with nothing in common but a tracking server."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import MakeProject, calls, unsent_folds
from tests.faults.servers import running
from tests.training.hpo.execution.test_sweep import start_sweep, wait_for_calls

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from training.hpo.execution.explain import trace
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[str]:
    """Yield the address of an MLflow server on loopback."""
    with running(tmp_path / "server", empty_store) as started:
        yield started.address


def test_begun_here_and_finished_there(make_project: MakeProject, server: str) -> None:
    """A sweep that is killed in one folder goes on in another one, by the server alone; no finished fold again."""
    alone, here, there = (make_project(name) for name in ("alone", "here", "there"))
    for config_dir in (alone, here, there):  # so slow that what is done is sent meanwhile
        function = config_dir.parent / "objective.py"
        function.write_text(
            f"import time\n{function.read_text()}".replace("    loss =", "    time.sleep(0.2)\n    loss =")
        )
    uninterrupted = sweep(alone, ["hpo.max_trials=6"])
    for config_dir in (here, there):
        (config_dir / "mlflow.yaml").write_text(f"tracking_uri: {server}\n")
        (config_dir.parent / "mlflow.db").unlink()
    process = start_sweep(here, 6)
    wait_for_calls(here, 6)
    process.kill()
    process.wait()
    unsent = unsent_folds(here)
    shutil.move(here.parent / "data", here.parent / "gone")
    result = sweep(there, ["hpo.max_trials=6"])
    assert [trial.params for trial in result.trials] == [trial.params for trial in uninterrupted.trials]
    assert [trial.value for trial in result.trials] == [trial.value for trial in uninterrupted.trials]
    assert result.best.number == uninterrupted.best.number
    # What the server hadn't got when the driver died is known here alone; beside it, one fold was cut.
    assert 12 <= len(calls(here)) + len(calls(there)) <= 13 + unsent
    assert len(calls(there)) < 12
    runs = queries.find_runs({tags.STUDY_KEY: result.study_key_hash})
    stages = Counter(run.tags[tags.STAGE] for run in runs)
    assert stages == {tags.STAGE_SWEEP: 1, tags.STAGE_TRIAL: 6, tags.STAGE_FOLD: 12}
    assert {(run.status, run.is_done) for run in runs} == {("FINISHED", True)}
    champion = refit(there)
    assert not (there.parent / "mlflow.db").exists()
    assert [link for link in trace(champion.model_uri, there) if link.problems] == []
