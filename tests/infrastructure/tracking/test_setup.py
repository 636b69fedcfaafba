"""Choosing the tracking store."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from mlflow import MlflowClient

from infrastructure.errors import (
    ConfigError,
    MlflowNotConfiguredError,
    ProjectNotFoundError,
    StoreSwitchError,
    StoreUnreachableError,
    TrackingError,
)
from infrastructure.tracking.mlflow import runs, setup
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow

MakeStore = Callable[[str], str]


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> MakeStore:
    """Return a function that makes an empty store in a folder and returns its URI."""

    def make(name: str) -> str:
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(empty_store, tmp_path / name / "mlflow.db")
        return f"sqlite:///{tmp_path / name / 'mlflow.db'}"

    return make


@pytest.fixture
def config_dir(store: MakeStore, tmp_path: Path) -> Path:
    """Return the config folder of a project whose own store is empty."""
    store("project")
    (tmp_path / "project" / "config").mkdir()
    return tmp_path / "project" / "config"


def write_mlflow(config_dir: Path, text: str) -> None:
    """Write mlflow.yaml."""
    (config_dir / "mlflow.yaml").write_text(text)


AZURE = "azure_ml: {enabled: true, subscription_id: s, resource_group: g, workspace_name: w}\n"
WITHOUT_PLUGIN = pytest.mark.skipif(find_spec("azureml") is not None, reason="the extra `azure` is installed")


def test_order_of_precedence(
    config_dir: Path, store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argument, ml_client, environment, mlflow.yaml, local: each is used when those before it are absent."""
    given, client_uri, environment, configured = (store(name) for name in ("given", "client", "env", "yaml"))
    local = f"sqlite:///{tmp_path / 'project' / 'mlflow.db'}"
    workspaces = SimpleNamespace(get=lambda name: SimpleNamespace(mlflow_tracking_uri=client_uri))
    client = SimpleNamespace(workspace_name="w", workspaces=workspaces)
    assert setup_mlflow("e", config_dir) == local
    write_mlflow(config_dir, f"tracking_uri: {configured}\n")
    assert setup_mlflow("e", config_dir) == configured
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert setup_mlflow("e", config_dir) == environment
    assert setup_mlflow("e", config_dir, ml_client=client) == client_uri
    assert setup_mlflow("e", config_dir, ml_client=client, tracking_uri=given) == given


def test_a_wish_holds_for_the_next_call(config_dir: Path, store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was given, or stands in the environment, is used by later calls too; a project's own isn't."""
    local, environment, given = setup_mlflow("e", config_dir), store("env"), store("given")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert [setup_mlflow("e", config_dir) for _ in range(3)] == [environment] * 3
    assert setup_mlflow("e", config_dir, tracking_uri=given) == given
    assert setup_mlflow("e", config_dir) == given
    assert local not in (environment, given)


def test_lost_config_dir_is_an_error(config_dir: Path) -> None:
    """A config_dir that isn't there is no reason for a store elsewhere."""
    with pytest.raises(ProjectNotFoundError, match="confg is no folder"):
        setup_mlflow("e", config_dir.parent / "confg")


def test_relative_store_starts_at_the_root(config_dir: Path) -> None:
    """A relative SQLite path in mlflow.yaml lies in the project, wherever the command is given."""
    write_mlflow(config_dir, "tracking_uri: sqlite:///deep/runs.db\n")
    assert setup_mlflow("e", config_dir) == f"sqlite:///{config_dir.parent / 'deep' / 'runs.db'}"


def test_uri_comes_before_experiment(config_dir: Path, store: MakeStore) -> None:
    """The experiment is created in the chosen store, and MLflow's own calls go there too."""
    uri = store("other")
    setup_mlflow("night", config_dir, tracking_uri=uri)
    assert MlflowClient(uri).get_experiment_by_name("night") is not None
    with mlflow.start_run(run_name="by hand") as run:
        assert run.info.experiment_id == current_session().experiment_id
    assert not (Path.cwd() / "mlruns").exists()


def test_twice_is_once(config_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Calling it again changes nothing and says nothing."""
    with caplog.at_level(logging.INFO, logger="infrastructure"):
        setup_mlflow("e", config_dir)
        first = current_session().experiment_id
        setup_mlflow("e", config_dir)
    assert current_session().experiment_id == first
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert "the project's own store" in said[0]


def test_no_switch_under_a_live_run(config_dir: Path, store: MakeStore) -> None:
    """While a run is live the store stays; after it, it may change."""
    setup_mlflow("e", config_dir)
    run = runs.create_run("e", "live", {}, None)
    other = store("other")
    with pytest.raises(StoreSwitchError, match="end the run first"):
        setup_mlflow("e", config_dir, tracking_uri=other)
    setup_mlflow("another experiment", config_dir)
    runs.end_run(run.info.run_id, "FINISHED")
    assert setup_mlflow("e", config_dir, tracking_uri=other) == other


def test_deleted_experiment_is_restored(config_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An experiment that was deleted is restored, and a line says so."""
    setup_mlflow("e", config_dir)
    current_session().client.delete_experiment(current_session().experiment_id)
    with caplog.at_level(logging.WARNING):
        setup_mlflow("e", config_dir)
    assert "it is restored" in caplog.text
    runs.create_run("e", "works", {}, None)


def test_foreign_run_id_is_dropped(
    config_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run id that was inherited from elsewhere is dropped, loudly."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with caplog.at_level(logging.WARNING):
        setup_mlflow("e", config_dir)
    assert "MLFLOW_RUN_ID" not in os.environ
    assert "is no run of this store" in caplog.text


def test_timeouts_are_set(config_dir: Path) -> None:
    """The artifact time-out of mlflow.yaml holds, and a server that is gone is noticed soon."""
    write_mlflow(config_dir, "artifact_timeout: 77\n")
    setup_mlflow("e", config_dir)
    assert os.environ["MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT"] == "77"
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 3


@WITHOUT_PLUGIN
def test_azure_without_its_plugin_falls_back(config_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Azure ML without its packages: one warning that names the reason, and the local store."""
    write_mlflow(config_dir, AZURE)
    with caplog.at_level(logging.WARNING):
        uri = setup_mlflow("e", config_dir)
    assert uri.endswith("project/mlflow.db")
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "pip install 'assay[azure]'" in warnings[0]


@WITHOUT_PLUGIN
def test_fallback_lasts(
    config_dir: Path, store: MakeStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that began in the local store goes on there, though the workspace could be used by now."""
    write_mlflow(config_dir, AZURE)
    local, workspace = setup_mlflow("e", config_dir), store("workspace")
    monkeypatch.setattr(setup, "_azure_tracking_uri", lambda _: workspace)
    with caplog.at_level(logging.WARNING):
        assert setup_mlflow("e", config_dir) == local
    assert "start it again" in caplog.text
    assert setup_mlflow("e", config_dir, fallback_to_local=False) == workspace


@WITHOUT_PLUGIN
def test_azure_without_fallback_raises(config_dir: Path) -> None:
    """With fallback_to_local off the reason is raised, and nothing is configured."""
    write_mlflow(config_dir, AZURE)
    with pytest.raises(TrackingError, match="azure_ml needs the package"):
        setup_mlflow("e", config_dir, fallback_to_local=False)
    with pytest.raises(MlflowNotConfiguredError):
        current_session()


def test_unreachable_workspace_falls_back(config_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A workspace that doesn't answer is named in the warning, and the local store is used."""

    def no_answer(name: str) -> None:
        raise ConnectionError("no route to host")

    client = SimpleNamespace(workspace_name="w", workspaces=SimpleNamespace(get=no_answer))
    with caplog.at_level(logging.WARNING):
        assert setup_mlflow("e", config_dir, ml_client=client).endswith("project/mlflow.db")
    assert "no route to host" in caplog.text


def test_unusable_store_is_no_fallback(config_dir: Path) -> None:
    """A server that was asked for by its address isn't replaced by another store."""
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:9 .*given as tracking_uri"):
        setup_mlflow("e", config_dir, tracking_uri="http://user:secret@127.0.0.1:9")
    assert time.monotonic() - started < 60
    with pytest.raises(MlflowNotConfiguredError):
        current_session()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "mysql+pymysql"])
def test_a_database_is_no_server(config_dir: Path, scheme: str) -> None:
    """The address of a server's database is refused, in one line that says what to give, without the password."""
    with pytest.raises(ConfigError, match=r"\*\*\*@host/db \(given as tracking_uri\) is a database") as caught:
        setup_mlflow("e", config_dir, tracking_uri=f"{scheme}://me:p4ssw0rd-xyz@host/db")
    assert "p4ssw0rd" not in str(caught.value)
    assert str(caught.value).endswith("give the server's address, http://HOST:PORT")


def test_password_is_not_shown(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the address isn't part of the message."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreUnreachableError) as caught:
        setup_mlflow("e", config_dir, tracking_uri="http://user:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_two_first_users_of_an_empty_store(tmp_path: Path) -> None:
    """Processes that meet at a store which isn't there yet all get it, with one experiment."""
    (tmp_path / "config").mkdir()
    code = "import sys; from infrastructure.tracking.mlflow.setup import setup_mlflow; setup_mlflow('e', sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "config")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    experiments = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()
    assert sorted(experiment.name for experiment in experiments) == ["Default", "e"]
