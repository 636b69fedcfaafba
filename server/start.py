"""An MLflow tracking server on PostgreSQL, on this machine alone and without docker, until Ctrl-C or SIGTERM.

The folder has all of it: `postgres` is the database, `artifacts` what runs keep, and a log of each program.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

from server.postgres import Postgres, PostgresError

HOST: Final = "127.0.0.1"
DATABASE: Final = "mlflow"
COMMAND: Final = (sys.executable, "-m", "mlflow", "server")
SETTINGS: Final = {
    "MLFLOW_WORKERS": "1",  # with several, each answer waits 40 ms for the network's sake
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for jobs that nobody gives it
}
PATIENCE: Final = 120.0
"""Seconds in which MLflow has started; the first time it makes some sixty tables."""
LAST_SECONDS: Final = 20.0
"""How long MLflow's server has to end by itself."""


class MlflowServerError(Exception):
    """MLflow's server can't be started here; the message says why, and what to do."""


def environment(store_uri: str, artifacts: Path, port: int) -> dict[str, str]:
    """Return the environment for MLflow's server: all settings are there, since other users can read a command."""
    where = {"MLFLOW_HOST": HOST, "MLFLOW_PORT": str(port)}
    kept = {"MLFLOW_BACKEND_STORE_URI": store_uri, "MLFLOW_ARTIFACTS_DESTINATION": str(artifacts)}
    return {**os.environ, **SETTINGS, **where, **kept}


def address(port: int) -> str:
    """Return where MLflow's server answers."""
    return f"http://{HOST}:{port}"


def await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when MLflow's server answers. Raises MlflowServerError if it ends before, or doesn't in good time."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address(port)}/health", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise MlflowServerError("MLflow's server doesn't start")


def check_port(port: int) -> None:
    """Raise MlflowServerError if somebody else has the port: their server would be taken for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise MlflowServerError(f"port {port} can't be had ({error.strerror}): give another PORT") from error


def serve(folder: Path, port: int) -> None:
    """Run both, and end both on Ctrl-C. Raises PostgresError or MlflowServerError if one of them can't be run."""
    check_port(port)
    artifacts = folder / "artifacts"
    artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Postgres(folder / "postgres") as postgres, (folder / "mlflow.log").open("ab") as log:
        postgres.create_database(DATABASE)
        process = subprocess.Popen(
            COMMAND,
            env=environment(postgres.uri(DATABASE), artifacts, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            await_answer(process, port)
            print(f"MLflow answers at {address(port)}; its runs and files are in {folder}; Ctrl-C ends it", flush=True)
            process.wait()
            raise MlflowServerError("MLflow's server has ended")
        except MlflowServerError as error:
            raise MlflowServerError(f"{error}; {log.name} says why") from error
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End MLflow's server with its processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def interrupt(*_: object) -> None:
    """End everything in its order, which a second signal doesn't disturb."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Serve until it is enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept; made if it isn't there")
    parser.add_argument("--port", type=int, required=True, help="the port on 127.0.0.1")
    given = parser.parse_args()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, interrupt)
    try:
        serve(given.folder.absolute(), given.port)
    except KeyboardInterrupt:
        print("both have ended")
    except (PostgresError, MlflowServerError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
