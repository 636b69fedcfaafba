"""The site of docs/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

CALLED = [
    "training.hpo.execution.local.sweep.sweep",
    "training.hpo.execution.local.cv.cv",
    "training.hpo.execution.local.refit.refit",
    "training.execution.local.train.train",
    "infrastructure.tracking.mlflow.setup.setup_mlflow",
    "infrastructure.tracking.mlflow.hash_utils.get_or_compute_study_key_hash",
    "infrastructure.tracking.mlflow.hash_utils.get_or_compute_trial_key_hash",
    "infrastructure.tracking.mlflow.hash_utils.get_study_key_hash_from_run",
    "infrastructure.tracking.mlflow.hash_utils.compute_study_key_hash_v2",
    "infrastructure.paths.utils.resolve_project_paths_with_fallback",
    "training.hpo.tracking.setup.setup_hpo_mlflow_run",
    "training.execution.mlflow_setup.create_training_mlflow_run",
]


def test_site(tmp_path: Path) -> None:
    """It is made without a warning, has every guide and the API, and fetches nothing from elsewhere."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "index.html").read_text()
    for page in [*REPOSITORY.glob("docs/guides/*.md"), *REPOSITORY.glob("docs/decisions/*.md")]:
        assert f'href="{page.parent.name}/{page.stem}.html"' in index
    api = (tmp_path / "api.html").read_text()
    assert [name for name in CALLED if f'id="{name}"' not in api] == []
    fetched = re.compile(
        r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//"""
    )
    for file in tmp_path.rglob("*"):
        if file.suffix in {".html", ".css", ".svg"}:
            assert not fetched.search(file.read_text()), file
