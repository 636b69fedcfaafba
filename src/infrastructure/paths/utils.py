"""Single place where a project's root and config folder are resolved (spec: Layer 1, paths)."""

from __future__ import annotations

import os
from pathlib import Path

from infrastructure.errors import ConfigError, ProjectNotFoundError, UnsafePathError

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


def configured_path(root_dir: Path, text: str, key: str) -> Path:
    """Return the path that a configuration names: `~` is the home folder, relative ones start at `root_dir`.

    `key` is where it was configured, for messages. Raises ConfigError if there can't be a file or folder of that name.
    """
    try:
        path = root_dir / Path(text).expanduser()
        path.is_dir()  # asks the system, which refuses names that are too long and folders that may not be entered
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError([f"{key}: {text!r:.80} can't be used as a path: {reason}; name another one"]) from error
    return path


def output_folder(root_dir: Path, text: str) -> Path:
    """Return the folder that `output_dir` of paths.yaml names; one that is given from the project's root lies there.

    A link on the way from the root would put it elsewhere: raises UnsafePathError for one. An absolute path is the
    user's word for where it lies. Raises ConfigError if there can't be such a folder.
    """
    path = configured_path(root_dir, text, "paths.yaml output_dir")
    if not path.is_relative_to(root_dir) or Path(text).is_absolute():
        return path
    meant, real = Path(os.path.normpath(root_dir.resolve() / path.relative_to(root_dir))), Path(os.path.realpath(path))
    if meant != real:
        raise UnsafePathError(
            f"paths.yaml output_dir: {path} leads through a link to {real}; name that folder itself if it is meant"
        )
    return path


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
