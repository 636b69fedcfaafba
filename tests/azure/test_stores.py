"""A workspace of Azure ML keeps the contract of tracking stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.conftest import running
from tests.training.hpo.execution.test_stores import Store, StoreContract, drivers, make_study_project

__all__ = ["drivers", "make_study_project"]


class TestAzureMl(StoreContract):
    """The stand-in for a workspace, with Azure's own plugin."""

    longest_tag = 1_000

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Store]:
        """Yield a workspace."""
        with running(tmp_path_factory.mktemp("azure") / "workspace", empty_store) as found:
            yield Store({"tracking_uri": found.tracking_uri}, found.environment)
