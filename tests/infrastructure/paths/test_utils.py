"""Where a project is."""

from __future__ import annotations

from pathlib import Path

import pytest

from infrastructure.errors import ProjectNotFoundError
from infrastructure.paths.utils import infer_config_dir, resolve_project_paths_with_fallback


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the root of a project with a config folder."""
    (tmp_path / "project" / "config").mkdir(parents=True)
    (tmp_path / "project" / "config" / "data.yaml").write_text("")
    return tmp_path / "project"


def test_given_config_dir_is_untouched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config_dir that is given comes back as it is, even relative, and even if another project is nearer."""
    monkeypatch.chdir(project)
    root, config_dir = resolve_project_paths_with_fallback(output_dir=project / "outputs", config_dir="elsewhere/conf")
    assert config_dir == Path("elsewhere/conf")
    assert root == project / "elsewhere"


def test_output_dir_comes_before_working_directory(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project of the output folder is found first; without one, that of the working directory."""
    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)
    (other / "config" / "hpo.yaml").write_text("")
    monkeypatch.chdir(other)
    assert resolve_project_paths_with_fallback(output_dir=project / "outputs" / "x") == (project, project / "config")
    assert resolve_project_paths_with_fallback() == (other, other / "config")


def test_missing_project_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no project, the error names the place and the next step."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectNotFoundError, match=r"no project found: .*assay init"):
        resolve_project_paths_with_fallback()


def test_inferring_by_hand_is_refused() -> None:
    """Calling infer_config_dir() by oneself, as the spec's incorrect example does, says what to call instead."""
    with pytest.raises(ProjectNotFoundError, match="call resolve_project_paths_with_fallback"):
        infer_config_dir()
