"""A study in an Azure ML workspace, with the real plugin: the same as in a local store."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.entities import Param

from infrastructure.errors import StudyHeldError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import models, queries, runs
from infrastructure.tracking.mlflow.queries import RunRecord
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from infrastructure.tracking.mlflow.session import current_session, set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.azure.conftest import SETTINGS, StandIn
from tests.azure.stand_in import TRACKING_URI, token
from tests.conftest import MakeProject, calls
from tests.faults.drivers import make_study
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep

HANGS = 120.0
VARYING = {tags.WRITER, "mlflow.source.name", "seconds"}


def use(config_dir: Path) -> Path:
    """Let a project track in the workspace."""
    (config_dir / "mlflow.yaml").write_text(SETTINGS)
    return config_dir


def tree(config_dir: Path) -> list[dict[str, object]]:
    """Return the runs of a project's store, by their names, without what differs from one study to its copy."""
    setup_mlflow(config_dir=config_dir, fallback_to_local=False)
    found = queries.search("")
    names = {run.run_id: run.name for run in found}
    return sorted((_seen(run, names) for run in found), key=lambda run: str(run["name"]))


def _seen(run: RunRecord, names: dict[str, str]) -> dict[str, object]:
    kept = {key: names.get(value, value) for key, value in run.tags.items() if key not in VARYING}
    for key in (tags.TRIAL_RECORD, tags.FOLD_RECORD):
        if text := tags.join_long(key, run.tags):
            kept = {name: value for name, value in kept.items() if not name.startswith(key)}
            kept[key] = json.dumps(_without_seconds(json.loads(text)), sort_keys=True)
    return {
        "name": run.name,
        "status": run.status,
        "params": run.params,
        "metrics": {name: value for name, value in run.metrics.items() if name not in VARYING},
        "tags": kept,
        "artifacts": sorted(_artifacts(run.run_id, None)),
    }


def _without_seconds(record: object) -> object:
    if isinstance(record, dict):
        return {key: _without_seconds(value) for key, value in record.items() if key != "seconds"}
    return record


def _artifacts(run_id: str, folder: str | None) -> list[str]:
    found = current_session().client.list_artifacts(run_id, folder)
    return [path for file in found for path in (_artifacts(run_id, file.path) if file.is_dir else [f"{file.path}"])]


def locally(make_project: MakeProject, *, pause: bool = False) -> list[dict[str, object]]:
    """Return the runs of the same study, uninterrupted, in a local store."""
    config_dir = make_study(make_project, "local")
    if pause:
        slow(config_dir)
    sweep(config_dir)
    refit(config_dir)
    return tree(config_dir)


def test_same_runs_as_in_a_local_store(make_project: MakeProject, stand_in: StandIn) -> None:
    """A study with a complete, a failed and a pruned trial, and its refit, are the same runs in either store."""
    config_dir = use(make_study(make_project, "there"))
    sweep(config_dir)
    model = refit(config_dir)
    there = tree(config_dir)
    assert {run["status"] for run in there} == {"FINISHED", "FAILED", "KILLED"}
    assert current_session().tracking_uri.startswith("azureml://")
    assert model.version == "1"
    set_session(None)
    assert there == locally(make_project)
    assert stand_in.seen.get("refused", 0) == 0


def test_model_is_found_and_loaded(make_project: MakeProject, stand_in: StandIn) -> None:
    """The registered model is found by its alias, which the workspace hasn't got, and MLflow loads it from there."""
    config_dir = use(make_study(make_project, "project"))
    sweep(config_dir)
    first = refit(config_dir)
    second = refit(config_dir, force=True)
    found = models.find_version(f"models:/{first.model_name}@champion")
    assert (first.version, second.version, found.version) == ("1", "2", "2")
    loaded = mlflow.pyfunc.load_model(f"models:/{found.name}/{found.version}")
    assert list(loaded.predict(pd.DataFrame({"value": [0.0]}))["prediction"]) == [0.0]
    assert models.stored_model_fingerprint(found.run_id) is not None


def test_throttled_and_cut_off(make_project: MakeProject, stand_in: StandIn) -> None:
    """429, and 504 after which the request was done all the same: the runs are the same, and none is there twice."""
    config_dir = use(make_study(make_project, "there"))
    stand_in.fail_every(9)
    sweep(config_dir)
    refit(config_dir)
    stand_in.fail_every(0)
    there = tree(config_dir)
    assert stand_in.seen["429"] > 1
    assert stand_in.seen["504"] > 1
    set_session(None)
    assert there == locally(make_project)


def start(config_dir: Path) -> subprocess.Popen[bytes]:
    """Start `assay sweep` in a process group of its own."""
    command = [sys.executable, "-m", "training.cli.main", "sweep", "--config-dir", str(config_dir)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=dict(os.environ)
    )


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + HANGS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def slow(config_dir: Path) -> Path:
    """Let each epoch take a while."""
    objective = config_dir.parent / "objective.py"
    objective.write_text(objective.read_text().replace("PAUSE = 0.5, 0.0", "PAUSE = 0.5, 0.4"))
    return config_dir


def test_killed_driver_is_gone_on_from(make_project: MakeProject, stand_in: StandIn, tmp_path: Path) -> None:
    """After SIGKILL, in another folder and from the workspace alone: the runs of the study that nobody interrupted."""
    first = slow(use(make_study(make_project, "there")))
    setup_mlflow(config_dir=first, fallback_to_local=False)
    driver = start(first)
    try:
        wait_for(lambda: any(run.is_done for run in queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})))
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    done = [run for run in queries.find_runs({tags.STAGE: tags.STAGE_TRIAL}) if run.is_done]
    assert len(done) < 3
    shutil.copytree(first.parent, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("outputs", "*.db", "calls*"))
    second = tmp_path / "elsewhere" / "config"
    sweep(second)
    refit(second)
    later = [json.loads(line) for line in (tmp_path / "elsewhere" / "calls.jsonl").read_text().splitlines()]
    there = tree(second)
    params = [float(run.params["x"]) for run in done]
    assert [call for call in later if call[0] in params and call[1] != "refit"] == []
    set_session(None)
    assert there == locally(make_project, pause=True)


def test_on_a_job(make_project: MakeProject, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a job its own token is enough; the job's run stays as it is, and no training takes it for its own."""
    config_dir = use(make_project())
    setup_mlflow("assay", config_dir, fallback_to_local=False)
    job = runs.create_run("assay", "the job", {}, None).info
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")} | {
        "MLFLOW_TRACKING_URI": TRACKING_URI,
        "MLFLOW_TRACKING_TOKEN": token(),
        "MLFLOW_RUN_ID": job.run_id,
        "MLFLOW_EXPERIMENT_ID": job.experiment_id,
        "AZUREML_RUN_ID": job.run_id,
    }
    command = [sys.executable, "-m", "training.cli.main", "sweep", "--config-dir", str(config_dir)]
    asked = stand_in.seen["login"]
    done = subprocess.run(
        [*command, "mlflow.azure_ml.enabled=false"],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "MLFLOW_TRACKING_URI in the environment" in done.stderr
    assert {call["run_id"] for call in calls(config_dir)} == {None}
    assert len(queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})) == 3
    assert stand_in.seen["login"] == asked
    found = queries.get_run(job.run_id)
    assert (found.status, found.params, found.metrics) == ("RUNNING", {}, {})


def test_commands_that_read(make_project: MakeProject, stand_in: StandIn) -> None:
    """What looks at a study in a local store looks at one in a workspace too."""
    config_dir = use(make_project())
    sweep(config_dir)
    model = refit(config_dir)
    for arguments in (
        ["status"],
        ["report"],
        ["best"],
        ["lineage", f"models:/{model.model_name}@champion"],
        ["reproduce", model.run_id],
    ):
        command = [sys.executable, "-m", "training.cli.main", *arguments, "--config-dir", str(config_dir)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert "local store" not in done.stderr


def test_second_driver_is_told(make_project: MakeProject, stand_in: StandIn) -> None:
    """One driver at a time owns a study in a workspace, by the workspace's clock."""
    config_dir = slow(use(make_study(make_project, "there", max_trials=20)))
    setup_mlflow(config_dir=config_dir, fallback_to_local=False)
    driver = start(config_dir)
    try:
        wait_for(lambda: bool(queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})))
        shutil.copytree(config_dir.parent, other := config_dir.parent.with_name("other"))
        shutil.rmtree(other / "outputs")
        with pytest.raises(StudyHeldError, match=f"process {driver.pid} "):
            sweep(other / "config")
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return Assay's own warnings."""
    return [record.message for record in caplog.records if record.name.startswith("infrastructure")]


def test_limits_of_a_run(make_project: MakeProject, stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Of more parameters than a run has room for the first stay, with one warning; longer things are divided."""
    setup_mlflow("e", use(make_project()), fallback_to_local=False)
    run_id = runs.create_run("e", "large", {}, None).info.run_id
    params = {f"p{index:03}": str(index) for index in range(250)}
    points = [MetricPoint("loss", float(step), step) for step in range(600)]
    long = tags.split_long(tags.CONFIG, json.dumps({"text": "config" * 3_000}))
    with caplog.at_level(logging.WARNING, "infrastructure"):
        runs.write_run(run_id, RunContent(params, points, long))
    found = queries.get_run(run_id)
    assert len(found.params) == 200
    assert found.params.items() <= params.items()
    assert tags.join_long(tags.CONFIG, found.tags) == json.dumps({"text": "config" * 3_000})
    assert len(current_session().client.get_metric_history(run_id, "loss")) == 600
    assert said(caplog) == [f"Azure ML keeps 200 parameters of a run; of {run_id}, 50 are in the trial's record alone"]
    with pytest.raises(mlflow.MlflowException, match="FieldName=Parameters"):
        current_session().client._client.log_batch(run_id, params=[Param("one", "more")])


def test_artifacts_stay_as_they_are(
    make_project: MakeProject, stand_in: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was kept is kept: the same again is no matter, another is told of, and what is missing is added."""
    setup_mlflow("e", use(make_project()), fallback_to_local=False)
    run_id = runs.create_run("e", "files", {}, None).info.run_id
    (folder := tmp_path / "files").mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "empty.txt").touch()
    with caplog.at_level(logging.WARNING, "infrastructure"):
        runs.log_text(run_id, "text", "notes/one.txt")
        runs.log_text(run_id, "text", "notes/one.txt")
        runs.log_artifacts(run_id, folder, "kept")
        (folder / "deep").mkdir()
        (folder / "deep" / "b.txt").write_text("b")
        runs.log_artifacts(run_id, folder, "kept")
        runs.log_text(run_id, "like a folder", "kept.txt")
        assert said(caplog) == []
        runs.log_text(run_id, "another", "notes/one.txt")
    assert said(caplog) == [
        f"Azure ML overwrites no artifact: notes/one.txt of run {run_id} stays as it was first kept"
    ]
    assert runs.read_text(run_id, "notes/one.txt") == "text"
    assert runs.read_text(run_id, "kept/deep/b.txt") == "b"
    assert runs.read_text(run_id, "kept/empty.txt") == ""
    assert runs.read_text(run_id, "kept/none.txt") is None
    assert {file.path for file in current_session().client.list_artifacts(run_id, "kept")} == {
        "kept/a.txt",
        "kept/empty.txt",
        "kept/deep",
    }
