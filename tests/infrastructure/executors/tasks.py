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
    if "file" in payload:
        Path(str(payload["file"])).write_text(os.environ.get("COLOUR", "none"))
