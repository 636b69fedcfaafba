"""The task of benchmarks/on_ray.py: it imports nothing that takes time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def sleep_task(payload: Mapping[str, float], report: Callable[..., None]) -> None:  # noqa: ARG001  as tasks are called
    """Sleep for `seconds`."""
    time.sleep(payload["seconds"])
