"""An MLflow server that can be killed and started again, and a proxy in front of it that does what networks do."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from server.postgres import Postgres
from server.start import COMMAND, address, await_answer, environment

FAULTS: Final = ("lost", "double", "late", "500", "429")
TEMPLATE: Final = "template_mlflow"


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """`mlflow server` on loopback, as `make server` starts it, with its store at an address."""

    def __init__(self, folder: Path, store_uri: str) -> None:
        self._folder = folder
        self._store_uri = store_uri
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.address = address(self.port)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            COMMAND,
            env=environment(self._store_uri, self._folder / "kept", self.port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        await_answer(self._process, self.port)

    def pause(self) -> None:
        """Let it take connections and answer none."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it with all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running(folder: Path, empty_store: Path) -> Iterator[Server]:
    """Yield a server that runs on a SQLite store of its own."""
    folder.mkdir(exist_ok=True)
    shutil.copy(empty_store, folder / "server.db")
    with running_on(f"sqlite:///{folder}/server.db", folder) as server:
        yield server


@contextmanager
def running_on(store_uri: str, folder: Path) -> Iterator[Server]:
    """Yield a server that runs on the store at an address, with what runs keep in a folder."""
    server = Server(folder, store_uri)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Database:
    """PostgreSQL, and databases in it that have MLflow's tables and nothing else."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self._count = 0
        postgres.create_database(TEMPLATE)
        client = MlflowClient(postgres.uri(TEMPLATE))
        client.search_experiments()
        client._tracking_client.store.engine.dispose()  # a database that somebody is connected to can't be copied

    def new_store(self) -> str:
        """Return the address of an empty store; making one costs seconds, copying it nothing."""
        self._count += 1
        self.postgres.create_database(f"store_{self._count}", TEMPLATE)
        return self.postgres.uri(f"store_{self._count}")


@contextmanager
def postgres_running() -> Iterator[Database]:
    """Yield PostgreSQL in a folder of its own, which pytest's wouldn't do for: nobody but root may enter those."""
    folder = Path(tempfile.mkdtemp(prefix="assay-tests-"))
    folder.chmod(0o755)
    try:
        with Postgres(folder / "postgres") as postgres:
            yield Database(postgres)
    finally:
        shutil.rmtree(folder)


class FaultyProxy:
    """Passes requests on to a server, a share of them with a fault, by a seed.

    `lost`: the server answers and the answer is lost. `double`: the server gets the request twice. `late`: it gets it
    late. `500` and `429`: it doesn't get it. `count` is how many answers had a fault, by kind.
    """

    def __init__(self, server_port: int, share: float, seed: int, faults: Sequence[str] = FAULTS) -> None:
        self.count: Counter[str] = Counter()
        rng, turn = random.Random(seed), threading.Lock()
        count = self.count

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with turn:
                    fault = rng.choice(faults) if rng.random() < share else ""
                    count[fault] += 1
                if fault in ("500", "429"):
                    self._answer(int(fault), [], b"{}")
                    return
                if fault == "late":
                    time.sleep(0.3)
                for _ in range(2 if fault == "double" else 1):
                    upstream = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
                    upstream.request(self.command, self.path, body, dict(self.headers))
                    answer = upstream.getresponse()
                    content = answer.read()
                    upstream.close()
                if fault == "lost":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self._answer(answer.status, answer.getheaders(), content)

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815  http.server looks for these

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as it is declared there
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def faults(self) -> int:
        """How many answers had a fault."""
        return sum(count for fault, count in self.count.items() if fault)

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
