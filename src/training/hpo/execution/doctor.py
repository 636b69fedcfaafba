"""Looks for what would go wrong, before a night is lost to it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from infrastructure.config.loading import ProjectConfig
from infrastructure.errors import AssayError, ProjectNotFoundError
from infrastructure.installation import installed_packages
from infrastructure.paths.utils import output_folder
from infrastructure.redaction import redacted
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from infrastructure.tracking.mlflow.writing import try_to_write
from training.data.datasets import load_dataset
from training.hpo.execution.project import load_and_check

State = Literal["ok", "warn", "fail"]
EXTRAS: Final = ("transformers", "azure")
LITTLE_ROOM: Final = 5e9
"""Bytes on a disk below which it is likely to be full after a night."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what mends it."""

    what: str
    state: State
    found: str
    mend: str = ""


def examine(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> list[Finding]:
    """Return what was found of the installation, and of the project if there is one here; nothing is mended."""
    return [*_installation(), *_accelerator(), *_project(config_dir, overrides)]


def _installation() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    packages = installed_packages(*EXTRAS)
    used = {package.extra for package in packages if package.extra and package.version}
    for package in packages:
        where = f"assay[{package.extra}]" if package.extra else "assay"
        if package.version is None and package.extra in {"", *used}:
            yield Finding(package.name, "fail", "not installed", f"pip install '{where}'")
        elif package.version is not None and not package.fits:
            mend = f"pip install '{package.name}{package.wanted}'"
            yield Finding(package.name, "fail", f"{package.version}; {package.wanted} is needed", mend)
    fitting = [package for package in packages if package.fits]
    yield Finding("packages", "ok", f"{len(fitting)} fit" + "".join(f", extra {extra}" for extra in sorted(used)))


def _accelerator() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding("accelerator", "ok", "PyTorch isn't installed, which transformers alone need")
        return
    import torch  # noqa: PLC0415  seconds, and an extra

    if torch.accelerator.is_available():
        yield Finding(
            "accelerator", "ok", f"{torch.accelerator.device_count()} × {torch.accelerator.current_accelerator()}"
        )
    elif Path("/proc/driver/nvidia").exists():
        mend = "install a build of PyTorch with CUDA: https://pytorch.org/get-started/locally"
        yield Finding("accelerator", "warn", f"PyTorch {torch.__version__} doesn't see the GPU of this machine", mend)
    else:
        yield Finding("accelerator", "ok", "none; trainings run on the CPU")


def _project(config_dir: str | Path | None, overrides: Sequence[str]) -> Iterator[Finding]:
    try:
        config = load_and_check(config_dir, overrides)
    except ProjectNotFoundError as error:
        yield Finding("project", "warn", str(error), "cd into a project, or start one: assay init FOLDER")
        return
    except AssayError as error:
        yield from (Finding("configuration", "fail", line, "mend it there") for line in str(error).splitlines())
        return
    yield Finding("configuration", "ok", str(config.config_dir))
    yield _data(config)
    yield from _store(config)
    yield _room(output_folder(config.root_dir, config.paths.output_dir))


def _data(config: ProjectConfig) -> Finding:
    try:
        loaded = load_dataset(config.data, config.root_dir)
    except AssayError as error:
        return Finding("data", "fail", str(error), "mend the file, or data.yaml")
    splits = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    sizes = [f"{len(rows)} {split}" for split, rows in splits.items() if rows is not None]
    return Finding("data", "ok", f"{', '.join(sizes)} rows" if sizes else "read by the training function")


def _store(config: ProjectConfig) -> Iterator[Finding]:
    try:
        uri = setup_mlflow(config.mlflow.experiment_name, config.config_dir, fallback_to_local=False)
        try_to_write()
    except AssayError as error:
        mend = "start the server, or name another store: tracking_uri in mlflow.yaml, or MLFLOW_TRACKING_URI"
        yield Finding("tracking store", "fail", str(error), mend)
        return
    yield Finding("tracking store", "ok", f"{redacted(uri)} can be written to")
    if (folder := current_session().store_folder) is not None:
        yield _room(folder)


def _room(folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free for {folder}"
    if free < LITTLE_ROOM:
        return Finding("disk", "warn", found, "make room: delete the output folders of old studies, which are a cache")
    return Finding("disk", "ok", found)
