"""A workspace that can't be used: one line, soon, and the local store in its place if that is wanted."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.azureml import asking
from infrastructure.errors import MlflowNotConfiguredError, TrackingError
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.azure.conftest import SETTINGS, StandIn
from tests.conftest import MakeProject

GUARD = 90.0
"""Seconds; a workspace is waited for 30, and loading Azure's packages takes some."""
URI = (
    "azureml://westeurope.api.azureml.ms/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/"
    "Microsoft.MachineLearningServices/workspaces/w"
)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no credential in the environment, and none in the user's folders."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lead to a place that takes connections and says nothing, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


def identify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a credential, which nobody has checked."""
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "of-nobody-at-all")


def use(config_dir: Path) -> Path:
    """Let a project track in a workspace."""
    (config_dir / "mlflow.yaml").write_text(SETTINGS)
    return config_dir


def falls_back(config_dir: Path, caplog: pytest.LogCaptureFixture, reason: str) -> float:
    """Check that the local store is used, with one line that names the reason; return the seconds it took."""
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert setup_mlflow("e", config_dir).endswith("project/mlflow.db")
    seconds = time.monotonic() - started
    said = [record.message for record in caplog.records if "_telemetry" not in record.name]  # which goes nowhere
    assert len(said) == 1, said
    assert said[0].startswith("Azure ML is not used, runs go to the local store instead: ")
    assert reason in said[0]
    assert "\n" not in said[0]
    print(f"{reason}: {seconds:.1f} s")
    assert seconds < GUARD
    return seconds


def test_no_credential(make_project: MakeProject, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is logged in: the chain of credentials says so."""
    falls_back(use(make_project()), caplog, "DefaultAzureCredential failed to retrieve a token")


def test_no_network(
    make_project: MakeProject, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that isn't there refuses the connection."""
    identify(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    falls_back(use(make_project()), caplog, "workspace 'w' can't be had")


@pytest.mark.usefixtures("hole")
def test_firewall(make_project: MakeProject, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers at all, it ends when the time is up."""
    identify(monkeypatch)
    monkeypatch.setattr(asking, "LONGEST", 3.0)
    falls_back(use(make_project()), caplog, "no answer within 3 s")


def test_no_such_workspace(make_project: MakeProject, stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A workspace that Azure doesn't know is named."""
    config_dir = use(make_project())
    (config_dir / "mlflow.yaml").write_text(SETTINGS.replace("workspace_name: w", "workspace_name: v"))
    falls_back(config_dir, caplog, "workspace 'v' can't be had: ResourceNotFoundError")


def test_without_fallback_it_raises(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fallback_to_local off the reason is raised in one line, and nothing is configured."""
    identify(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(TrackingError, match="workspace 'w' can't be had") as caught:
        setup_mlflow("e", use(make_project()), fallback_to_local=False)
    assert time.monotonic() - started < GUARD
    assert "\n" not in str(caught.value)
    with pytest.raises(MlflowNotConfiguredError):
        current_session()


def test_an_address_is_not_replaced(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace that was asked for by its address, as a job's environment does, isn't replaced by the local store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    with pytest.raises(TrackingError, match="a credential for Azure ML can't be had: "):
        setup_mlflow("e", make_project())
    with pytest.raises(TrackingError, match="names no workspace"):
        setup_mlflow("e", make_project("other"), tracking_uri="azureml://host/mlflow/v2.0/elsewhere")


def test_command_says_one_line(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries' own warnings aren't printed beside it."""
    identify(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    command = [sys.executable, "-m", "training.cli.main", "status", "--config-dir", str(use(make_project()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("MLflow: ")]
    assert lines[0].startswith("Azure ML is not used, runs go to the local store instead: workspace 'w'")
    assert len(lines) <= 2, done.stderr  # the second: there is no study
