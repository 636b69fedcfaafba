"""`assay submit` without Azure's packages; with them see tests/azure."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import MissingExtraError
from training.hpo.execution.submission import azure_submission


@pytest.mark.skipif(find_spec("azure") is not None, reason="the extra `azure` is installed")
def test_missing_packages_are_named(make_project: MakeProject) -> None:
    """The one line names the extra to install."""
    with pytest.raises(MissingExtraError, match=r"assay submit --azureml needs .*pip install 'assay\[azure\]'"):
        azure_submission(make_project(), [])
