"""From a config folder to typed configurations: files, then overrides, then environment variables, then the models.

Every fault of every file and override is reported at once, in one ConfigError.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from infrastructure.config.overrides import Override, apply_override, parse_override
from infrastructure.config.problems import explain, nearest
from infrastructure.config.references import Substitution
from infrastructure.config.schema import (
    DataConfig,
    ExecutorConfig,
    HpoConfig,
    MlflowConfig,
    NamingConfig,
    PathsConfig,
    TrainConfig,
)
from infrastructure.config.yaml_reader import Document, KeyPath, display_path, key_name, read_yaml
from infrastructure.errors import ConfigError, ProjectNotFoundError
from infrastructure.redaction import remember_credentials

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Section(Generic[ConfigT]):
    """One YAML file of a config folder: its name without `.yaml`, the type of its content, and if it may be absent.

    `is_kept` tells that runs keep what it says, credentials excepted.
    """

    name: str
    annotation: object
    adapter: TypeAdapter[ConfigT]
    is_required: bool = False
    is_kept: bool = False


DATA: Final[Section[DataConfig]] = Section("data", DataConfig, TypeAdapter(DataConfig), is_required=True, is_kept=True)
HPO: Final[Section[HpoConfig]] = Section("hpo", HpoConfig, TypeAdapter(HpoConfig), is_required=True, is_kept=True)
TRAIN: Final[Section[TrainConfig]] = Section(
    "train", TrainConfig, TypeAdapter(TrainConfig), is_required=True, is_kept=True
)
MLFLOW: Final[Section[MlflowConfig]] = Section("mlflow", MlflowConfig, TypeAdapter(MlflowConfig))
EXECUTOR: Final[Section[ExecutorConfig]] = Section("executor", ExecutorConfig, TypeAdapter(ExecutorConfig))
NAMING: Final[Section[NamingConfig]] = Section("naming", NamingConfig, TypeAdapter(NamingConfig))
PATHS: Final[Section[PathsConfig]] = Section("paths", PathsConfig, TypeAdapter(PathsConfig))

SECTION_NAMES: Final = tuple(section.name for section in (DATA, HPO, TRAIN, MLFLOW, EXECUTOR, NAMING, PATHS))


@dataclass(frozen=True)
class ProjectConfig:
    """The whole configuration of a project. Relative paths in it start at `root_dir`."""

    root_dir: Path
    config_dir: Path
    data: DataConfig
    hpo: HpoConfig
    train: TrainConfig
    mlflow: MlflowConfig
    executor: ExecutorConfig
    naming: NamingConfig
    paths: PathsConfig


def load_project_config(
    config_dir: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> ProjectConfig:
    """Read the config folder of a project, with `section.key=value` overrides over its files.

    `environ` is what `${env:NAME}` refers to; the process's environment by default. Raises ConfigError with all
    faults, and ProjectNotFoundError if there is no such folder.
    """
    if not config_dir.is_dir():
        raise ProjectNotFoundError(
            f"no config folder at {display_path(config_dir)}; run `assay init` for a new project, or give --config-dir"
        )
    loader = _Loader(config_dir, os.environ if environ is None else environ)
    loader.take_overrides(overrides)
    data, hpo, train = loader.load(DATA), loader.load(HPO), loader.load(TRAIN)
    mlflow, executor = loader.load(MLFLOW), loader.load(EXECUTOR)
    naming, paths = loader.load(NAMING), loader.load(PATHS)
    problems = [*_unknown_files(config_dir), *loader.problems]
    if problems or not (data and hpo and train and mlflow and executor and naming and paths):
        raise ConfigError(problems)
    root_dir = config_dir.absolute().parent
    return ProjectConfig(root_dir, config_dir, data, hpo, train, mlflow, executor, naming, paths)


def load_mlflow_config(config_dir: Path, environ: Mapping[str, str] | None = None) -> MlflowConfig:
    """Read `mlflow.yaml`, the defaults if there is none; raise ConfigError with all its faults."""
    return load_section(MLFLOW, config_dir, environ)


def load_naming_config(config_dir: Path, environ: Mapping[str, str] | None = None) -> NamingConfig:
    """Read `naming.yaml`, the defaults if there is none; raise ConfigError with all its faults."""
    return load_section(NAMING, config_dir, environ)


def load_section(section: Section[ConfigT], config_dir: Path, environ: Mapping[str, str] | None = None) -> ConfigT:
    """Read one file of a config folder alone; raise ConfigError with all its faults."""
    loader = _Loader(config_dir, os.environ if environ is None else environ)
    config = loader.load(section)
    if config is None:
        raise ConfigError(loader.problems)
    return config


@dataclass
class _Loader:
    """Loads the sections of one folder and collects their problems."""

    config_dir: Path
    environ: Mapping[str, str]
    overrides: list[Override] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take_overrides(self, texts: Sequence[str]) -> None:
        """Keep the overrides for the sections that they name."""
        for text in texts:
            try:
                self.overrides.append(parse_override(text, SECTION_NAMES))
            except ConfigError as error:
                self.problems += error.problems

    def load(self, section: Section[ConfigT]) -> ConfigT | None:
        """Return a section's configuration, or None after noting why there is none."""
        path = self.config_dir / f"{section.name}.yaml"
        try:
            document = read_yaml(path) if section.is_required or path.exists() else Document(path, {}, {})
        except ConfigError as error:
            self.problems += error.problems
            return None
        source = _Source(document)
        for override in self.overrides:
            if override.section == section.name:
                try:
                    source.apply(override)
                except ConfigError as error:
                    self.problems += error.problems
        return self._validate(section, source)

    def _validate(self, section: Section[ConfigT], source: _Source) -> ConfigT | None:
        substitution = Substitution(self.environ, section.is_kept)
        values = {key: substitution.apply(value, (key,)) for key, value in source.values.items()}
        remember_credentials(values)
        self.problems += [source.message(path, text) for path, text in substitution.problems.items()]
        try:
            config = section.adapter.validate_python(values)
        except ValidationError as error:
            # Of a reference that can't be followed, the first message has said all there is to say.
            self.problems += [
                source.message(problem.path, problem.message)
                for problem in explain(section.annotation, source.values, error.errors(), substitution.hide)
                if problem.path not in substitution.problems
            ]
            return None
        return None if substitution.problems else config


class _Source:
    """The values of one section before references are followed, and which file line or override each came from."""

    def __init__(self, document: Document) -> None:
        self.values: dict[str, JsonValue] = copy.deepcopy(document.values)
        self._document = document
        self._overrides: list[tuple[KeyPath, Override]] = []

    def apply(self, override: Override) -> None:
        """Set the override's value; raise ConfigError if it has no place."""
        self._overrides.append((apply_override(self.values, override), override))

    def message(self, path: KeyPath, text: str) -> str:
        """Return a message about a key, with the place it was set in first."""
        text = " ".join(text.splitlines())
        for start, override in reversed(self._overrides):
            if path[: len(start)] == start:
                return f"{override.label}: {text}" if path == start else f"{override.label}: {key_name(path)}: {text}"
        place = display_path(self._document.path)
        if self._document.lines:
            place = f"{place}:{self._document.line(path)}"
        return f"{place} {key_name(path)}: {text}" if path else f"{place}: {text}"


def _unknown_files(config_dir: Path) -> list[str]:
    known = [f"{name}.yaml" for name in SECTION_NAMES]
    return [
        f"{display_path(path)}: unknown file; {nearest(path.name, known)}"
        for path in sorted(config_dir.iterdir())
        if path.suffix in {".yaml", ".yml"} and path.name not in known and not path.name.startswith(".")
    ]
