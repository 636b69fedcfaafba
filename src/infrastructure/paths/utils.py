"""Single place where a project's root and config folder are resolved (spec: Layer 1, paths)."""

from __future__ import annotations

from pathlib import Path

from infrastructure.errors import ProjectNotFoundError

CONFIG_FOLDER = "config"
CONFIG_FILES = ("data.yaml", "hpo.yaml", "train.yaml", "mlflow.yaml")


def resolve_project_paths_with_fallback(
    output_dir: str | Path | None = None, config_dir: str | Path | None = None
) -> tuple[Path, Path]:
    """Return `(root_dir, config_dir)` of the project.

    A `config_dir` that is given is returned untouched, and the root is the folder that holds it. Only without one
    is it looked for: upwards from `output_dir`, then upwards from the working directory. Raises
    ProjectNotFoundError when neither search finds a project.
    """
    if config_dir is not None:
        found = Path(config_dir)
    else:
        starts = [Path.cwd()] if output_dir is None else [Path(output_dir).absolute(), Path.cwd()]
        found = infer_config_dir(*starts)
    return found.absolute().parent, found


def infer_config_dir(*starts: Path) -> Path:
    """Find the config folder upwards from the first of `starts` that lies in a project.

    It is a part of `resolve_project_paths_with_fallback()`; call that. Raises ProjectNotFoundError.
    """
    if not starts:
        raise ProjectNotFoundError(
            "infer_config_dir() has nothing to start from: call resolve_project_paths_with_fallback("
            "output_dir=..., config_dir=...), which keeps a config_dir that was given and looks for one otherwise"
        )
    for start in starts:
        for folder in (start, *start.parents):
            candidate = folder / CONFIG_FOLDER
            if any((candidate / name).is_file() for name in CONFIG_FILES):
                return candidate
    places = " or ".join(str(start) for start in dict.fromkeys(starts))
    raise ProjectNotFoundError(
        f"no project found: {places} and the folders above hold no {CONFIG_FOLDER}/ with one of "
        f"{', '.join(CONFIG_FILES)}; give config_dir (--config-dir), or start one with `assay init FOLDER`"
    )
