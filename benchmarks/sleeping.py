"""The tasks of benchmarks/on_ray.py: they import nothing that takes time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def sleep_task(payload: Mapping[str, float], report: Callable[..., None]) -> None:  # noqa: ARG001  as tasks are called
    """Sleep for `seconds`."""
    time.sleep(payload["seconds"])


def report_task(payload: Mapping[str, float], report: Callable[..., None]) -> None:
    """Report so many `steps`."""
    for step in range(1, int(payload["steps"]) + 1):
        report(step, {"loss": 1 / step})
