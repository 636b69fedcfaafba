"""Forks a driver for each attempt: with MLflow imported and used once, a sweep and a refit take less than a second.

Run as `python -m tests.faults.launcher`; speaks JSON, a line for each request and for each answer.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import mlflow
from pydantic import BaseModel, ConfigDict

from infrastructure.executors.base import Executor, OnReport, OnRetry
from infrastructure.executors.inline import InlineExecutor
from infrastructure.tracking.mlflow.session import set_session
from tests.faults import planted
from tests.faults.boundaries import Boundaries
from tests.faults.observation import observe
from training.hpo.execution.local import model_training
from training.hpo.execution.local import sweep as sweeping
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.local.workers import make_executor

WORK: Final[tuple[Any, ...]] = (sweeping, model_training)
"""The modules that make executors."""


class Attempt(BaseModel):
    """What a driver is to do: sweep, perhaps from the start, and refit, and die before the boundary `deadly` but for 0.

    Of the boundaries those count whose description contains `among`. `bug` names one of `planted`. With `is_inline`
    trainings are done in the driver's own process, so that what they write counts too. `environment` is added to the
    driver's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config_dir: str
    deadly: int = 0
    among: str = ""
    is_inline: bool = True
    bug: str = ""
    force: bool = False
    environment: dict[str, str] = {}


class Ending(BaseModel):
    """How a driver ended: its exit code, below zero for a signal; at which boundary, and what that was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: int
    count: int = 0
    at: str = ""


def _inline(_project: object, _workers: int, on_report: OnReport, on_retry: OnRetry) -> Executor:
    return InlineExecutor(on_report, on_retry)


def _use_executor(make: Any) -> None:
    for module in WORK:
        module.make_executor = make


def _begin_afresh(config_dir: str, environment: Mapping[str, str]) -> None:
    """Let this process know nothing of what its parent did, and write nothing outside the project's folder."""
    root = Path(config_dir).parent
    set_session(None)
    mlflow.set_tracking_uri("")
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING")]:
        del os.environ[name]
    sys.modules.pop("objective", None)
    for name, folder in (("XDG_CACHE_HOME", root / "cache"), ("TMPDIR", root / "tmp")):
        folder.mkdir(exist_ok=True)
        os.environ[name] = str(folder)
    tempfile.tempdir = None
    os.environ.update(environment)


def _drive(attempt: Attempt, answer: int) -> None:
    """Sweep and refit in this process, which ends with it."""
    os.setpgid(0, 0)
    _begin_afresh(attempt.config_dir, attempt.environment)
    if attempt.is_inline:
        _use_executor(_inline)
    if attempt.bug:
        planted.plant(attempt.bug)
    boundaries: Boundaries | None = None

    def tell(at: str, code: int = -signal.SIGKILL) -> None:
        count = boundaries.count if boundaries is not None else 0
        os.write(answer, Ending(code=code, count=count, at=at[:300]).model_dump_json().encode())

    if attempt.is_inline or attempt.deadly:
        boundaries = Boundaries(attempt.deadly, tell, attempt.among)
    try:
        sweep(attempt.config_dir, force=attempt.force)
        refit(attempt.config_dir)
    except BaseException as error:  # noqa: BLE001  the boundary of the process: what it was is told
        traceback.print_exc()
        tell(repr(error), 1)
        os._exit(1)
    tell("", 0)
    os._exit(0)


def _fork(deed: Any) -> tuple[int, int]:
    """Do something in a process of its own, and return its id and where its answer can be read."""
    reading, writing = os.pipe()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(reading)
        try:
            deed(writing)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        os._exit(1)
    os.close(writing)
    os.setpgid(pid, pid)  # here too: whoever is told of it may kill the group at once
    return pid, reading


def _read(reading: int) -> str:
    os.set_blocking(reading, False)
    with suppress(BlockingIOError), os.fdopen(reading, "rb") as answer:
        return (answer.read() or b"").decode()
    return ""


def _look(config_dir: str, environment: Mapping[str, str]) -> str:
    """Return what a project's store and folders hold, as JSON."""

    def look(answer: int) -> None:
        _begin_afresh(config_dir, environment)
        with os.fdopen(answer, "w") as stream:
            stream.write(observe(Path(config_dir)).model_dump_json())
        os._exit(0)

    pid, reading = _fork(look)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return text or "null"


def _serve() -> None:
    """Answer requests until there are none.

    They are: `start` an attempt, tell whether it `ended`, `wait` for its end, and `look` at a project.
    """
    answers: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            attempt = Attempt.model_validate(request["start"])
            pid, answers[pid] = _fork(lambda answer, attempt=attempt: _drive(attempt, answer))
            print(pid, flush=True)
        elif "ended" in request:
            found = os.waitid(os.P_PID, request["ended"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            print(json.dumps(found is not None), flush=True)
        elif "wait" in request:
            pid = request["wait"]
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            told = _read(answers.pop(pid))
            ending = Ending.model_validate_json(told) if told else Ending(code=code)
            print(ending.model_copy(update={"code": code}).model_dump_json(), flush=True)
        else:
            print(_look(request["look"], request["environment"]), flush=True)


def _warm_up(config_dir: str) -> None:
    """Do once, here, what all drivers do, so that they find everything imported."""
    _begin_afresh(config_dir, {})
    _use_executor(_inline)
    sweep(config_dir)
    refit(config_dir)
    observe(Path(config_dir))
    _use_executor(make_executor)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _warm_up(sys.argv[1])
    print("ready", flush=True)
    _serve()
