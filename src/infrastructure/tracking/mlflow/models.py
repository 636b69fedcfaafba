"""Models: packed by MLflow, kept with their run, and registered."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.models.utils import load_serving_example
from pydantic import JsonValue

from infrastructure.errors import IdentityError, RunNotFoundError, TrackingError
from infrastructure.naming.fingerprints import fingerprint
from infrastructure.redaction import redacted
from infrastructure.tracking.mlflow.queries import get_run, quoted
from infrastructure.tracking.mlflow.runs import has_artifact
from infrastructure.tracking.mlflow.session import current_session

ARTIFACT_PATH: Final = "model"
CHAMPION: Final = "champion"
MODEL_FILE: Final = "MLmodel"
PACKED_FILES: Final = "artifacts/model"
"""Where MLflow puts the trained model's own files inside a packed one."""


@dataclass(frozen=True)
class ModelSource:
    """A trained model on disk and what is needed to predict with it.

    `predictor` is `module:function`, called as `function(model_dir, frame)`. `code` are the files that it is made of;
    they go with the model, inside a package of the name `package` if there is one. `example` and `example_output`
    give the model its signature.
    """

    folder: Path
    predictor: str
    code: Sequence[Path]
    package: str
    requirements: Sequence[str]
    example: pd.DataFrame
    example_output: pd.DataFrame


def log_model(run_id: str, source: ModelSource) -> str:
    """Pack a model, keep it with a run, and return its URI.

    It is saved and then sent as plain artifacts, since Azure ML has no endpoint for MLflow's logged models. It is
    packed beside the model's folder: the copy that a kill leaves there is deleted by the next try.
    """
    client = current_session().client
    scratch = source.folder.with_name(f"{source.folder.name}.packed")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        packed = scratch / ARTIFACT_PATH
        mlflow.pyfunc.save_model(
            packed,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"model": str(source.folder)},
            code_paths=_code_paths(source, scratch),
            signature=infer_signature(source.example, source.example_output),
            input_example=source.example,
            pip_requirements=[_pinned(name) for name in ("mlflow", "pandas", *source.requirements)],
            model_config={"predictor": source.predictor},
        )
        client.log_artifacts(run_id, str(packed), ARTIFACT_PATH)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"runs:/{run_id}/{ARTIFACT_PATH}"


def _code_paths(source: ModelSource, scratch: Path) -> list[str]:
    if not source.package:
        return [str(path) for path in source.code]
    package = scratch / source.package
    package.mkdir()
    (package / "__init__.py").touch()
    for path in source.code:
        shutil.copy(path, package)
    return [str(package)]


def _pinned(package: str) -> str:
    try:
        return f"{package}=={version_of(package).partition('+')[0]}"
    except PackageNotFoundError as error:
        raise TrackingError(f"the model needs the package {package!r}, which is not installed here") from error


@dataclass(frozen=True)
class ModelNotes:
    """What MLflow's UI shows as the description of a registered model that is new, and of a version of it."""

    model: str
    version: str


def register_model(run_id: str, name: str, alias: str, tags: Mapping[str, str], notes: ModelNotes) -> str:
    """Register a run's model as the next version of `name` unless it is one, give it the alias, return the version."""
    client = current_session().client
    _create_registered_model(name, notes.model)
    source = f"{get_run(run_id).artifact_uri}/{ARTIFACT_PATH}"
    if not _versions(run_id, name):
        client.create_version(name, source, run_id, tags, redacted(notes.version))
    version, *doubled = _versions(run_id, name)
    for other in doubled:  # which a server made of one request that it got twice
        with _done_before("RESOURCE_DOES_NOT_EXIST"):
            client.delete_model_version(name, other)
    client.set_registered_model_alias(name, alias, version)
    return version


def _create_registered_model(name: str, note: str) -> None:
    client = current_session().client
    try:
        client.get_registered_model(name)
    except MlflowException:
        with _done_before("RESOURCE_ALREADY_EXISTS"):
            client.create_registered_model(name, description=redacted(note))


@contextmanager
def _done_before(answer: str) -> Iterator[None]:
    """Take this answer of a store as well: an attempt whose own answer was lost has done it."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != answer:
            raise


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model, and the run that made it."""

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]


def find_version(uri: str) -> RegisteredVersion:
    """Return the version at `models:/NAME@ALIAS` or `models:/NAME/VERSION`; raise RunNotFoundError if there is none."""
    client = current_session().client
    name, _, alias = uri.removeprefix("models:/").partition("@")
    try:
        if alias:
            found = client.get_model_version_by_alias(name, alias)
        else:
            name, _, version = name.partition("/")
            found = client.get_model_version(name, version)
    except MlflowException as error:
        raise RunNotFoundError(
            f"no model {uri!r} in {current_session().tracking_uri}; "
            f"allowed: models:/NAME@ALIAS or models:/NAME/VERSION: {error.message}"
        ) from error
    return RegisteredVersion(found.name, str(found.version), found.run_id, found.source, dict(found.tags))


def example_row(uri: str) -> dict[str, JsonValue]:
    """Return the first row of the input example that a model carries, or nothing if it carries none."""
    try:
        example = json.loads(load_serving_example(uri))["dataframe_split"]
    except (MlflowException, OSError, LookupError):
        return {}
    return dict(zip(example["columns"], example["data"][0], strict=True))


def is_servable(run_id: str) -> bool:
    """Tell whether what a run keeps is a packed model, not just files."""
    return has_artifact(run_id, f"{ARTIFACT_PATH}/{MODEL_FILE}")


def stored_model_fingerprint(run_id: str) -> str | None:
    """Return the fingerprint of the model's files as a run keeps them, or None if it keeps none."""
    client = current_session().client
    if not client.list_artifacts(run_id, ARTIFACT_PATH):
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            kept = Path(client.download_artifacts(run_id, ARTIFACT_PATH, folder))
            return fingerprint(kept / PACKED_FILES if (kept / MODEL_FILE).is_file() else kept)
        except (MlflowException, OSError, IdentityError):
            return None


def fetch_model(run_id: str, folder: Path) -> None:
    """Write the files of a run's model, as they were before it was packed, to `folder`, whole or not at all.

    Raises TrackingError if the run keeps no model.
    """
    client = current_session().client
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        try:
            kept = Path(client.download_artifacts(run_id, ARTIFACT_PATH, scratch))
        except (MlflowException, OSError) as error:
            raise TrackingError(f"run {run_id} keeps no model that can be read: {error}") from error
        (kept / PACKED_FILES if (kept / MODEL_FILE).is_file() else kept).rename(folder)


def registered_version(run_id: str, name: str) -> str:
    """Return the version of `name` that a run's model was registered as, or an empty text."""
    return next(iter(_versions(run_id, name)), "")


def _versions(run_id: str, name: str) -> list[str]:
    """Return the versions of `name` that a run's model was registered as, the first one first."""
    found = current_session().client.search_model_versions(f"name = {quoted(name)} and run_id = {quoted(run_id)}")
    return [str(version) for version in sorted(int(version.version) for version in found)]
