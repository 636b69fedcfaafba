"""A workspace for each test: the stand-in, and the environment that leads to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.azure.stand_in import TRACKING_URI

REASON = "the extra `azure` isn't installed here; `make test-azure` has it"
HERE = Path(__file__).parent
SETTINGS = "azure_ml: {enabled: true, subscription_id: s, resource_group: g, workspace_name: w}\n"


@pytest.fixture(autouse=True)
def _plugin() -> None:
    for package in ("azure.ai.ml", "azureml.mlflow"):
        pytest.importorskip(package, reason=REASON)


class StandIn:
    """A running stand-in: its address, the environment of its clients, and what it was asked."""

    tracking_uri = TRACKING_URI

    def __init__(self, folder: Path, address: str) -> None:
        self._address = address
        self.environment = {
            "HTTPS_PROXY": address,
            "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
            "AZURE_TENANT_ID": "t",
            "AZURE_CLIENT_ID": "c",
            "AZURE_CLIENT_SECRET": "of-the-stand-in-alone",
        }

    def fail_every(self, count: int) -> None:
        """Let every so-manieth tracking request fail: by turns 429 and a 504 that hides a success; 0 for none."""
        self._control(f"/faults?every={count}")

    @property
    def seen(self) -> Mapping[str, int]:
        """How often each of the stand-in's endpoints was called, and each of its refusals and faults came."""
        return self._control("/seen")

    def _control(self, path: str) -> dict[str, int]:
        with urllib.request.urlopen(f"{self._address}{path}", timeout=60) as answer:
            found: dict[str, int] = json.load(answer)
        return found


@contextmanager
def running(folder: Path, empty_store: Path) -> Iterator[StandIn]:
    """Yield a stand-in with a workspace that is empty."""
    folder.mkdir()
    shutil.copy(empty_store, folder / "server.db")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, HERE / "stand_in.py", folder], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "address").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield StandIn(folder, (folder / "address").read_text())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def stand_in(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Start a workspace that is empty, and lead this test's processes to it."""
    with running(tmp_path / "workspace", empty_store) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield found
