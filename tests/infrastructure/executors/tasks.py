"""Tasks that the executors' contract runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from infrastructure.executors.base import TaskReport


def work(payload: Mapping[str, JsonValue], report: TaskReport) -> None:
    """Do what the payload says: print, report, write a file, sleep, raise, or die."""
    if "print" in payload:
        print(payload["print"], flush=True)
    for step in range(1, int(str(payload.get("steps", 0))) + 1):
        report(step, {"value": step * 0.5})
    if "sleep" in payload:
        time.sleep(float(str(payload["sleep"])))
    if "raise" in payload:
        raise ValueError(str(payload["raise"]))
    if "kill" in payload:
        os.kill(os.getpid(), signal.SIGKILL)
    if "dies" in payload:
        die_so_often(Path(str(payload["lives"])), int(str(payload["dies"])))
    if "hog" in payload:
        bytearray(1 << 50)
    if "cgroup" in payload:
        Path(str(payload["cgroup"]), "cgroup.procs").write_text(str(os.getpid()))
        bytearray(b"x") * (1 << 30)
    if "save" in payload:
        save_when_told(Path(str(payload["save"])), report)
    if "file" in payload:
        Path(str(payload["file"])).write_text(os.environ.get("COLOUR", "none"))


def die_so_often(lives: Path, count: int) -> None:
    """Note that the task was begun, and kill its process if that wasn't more than `count` times."""
    with lives.open("a") as file:
        file.write("x")
    if lives.stat().st_size <= count:
        os.kill(os.getpid(), signal.SIGSEGV)


def save_when_told(file: Path, report: TaskReport) -> None:
    """Report until SIGTERM comes, and write a file then."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: told.append(signum))
    file.with_suffix(".begun").touch()
    step = 0
    while not told:
        step += 1
        report(step, {"value": 0.0})
        time.sleep(0.01)
    file.write_text("saved")
    raise SystemExit(143)
