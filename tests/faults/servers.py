"""An MLflow server that can be killed and started again, and a proxy in front of it that does what networks do."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

FAULTS: Final = ("lost", "double", "late", "500", "429")


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """`mlflow server` on loopback with a SQLite store."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        shutil.copy(empty_store, folder / "server.db")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        store = ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        kept = ["--artifacts-destination", str(self._folder / "kept")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *kept, *where],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)

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
    """Yield a server that runs."""
    server = Server(folder, empty_store)
    try:
        server.start()
        yield server
    finally:
        server.kill()


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
