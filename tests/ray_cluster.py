"""A Ray cluster of two nodes on this machine, for tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Yield a cluster of two nodes with one processor each; they have the resources `here` and `there`."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"here": 1}})
    try:
        cluster.add_node(num_cpus=1, resources={"there": 1})
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["PYTHONPATH"], os.environ["RAY_USAGE_STATS_ENABLED"]
        if path is not None:
            os.environ["PYTHONPATH"] = path
