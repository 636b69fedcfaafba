"""`mlflow.yaml`, `naming.yaml` and `paths.yaml`: where runs and files go, and what they are called."""

from __future__ import annotations

import string
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from infrastructure.config.schema.base import ConfigModel

DEFAULT_EXPERIMENT = "assay"
PLACEHOLDERS = frozenset({"env", "project", "backbone", "study8", "trial", "trial8", "fold"})


class AzureMl(ConfigModel):
    """The Azure ML workspace whose tracking store is used when `enabled`."""

    enabled: bool = False
    subscription_id: str | None = None
    resource_group: str | None = None
    workspace_name: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        missing = [name for name in ("subscription_id", "resource_group", "workspace_name") if not getattr(self, name)]
        if self.enabled and missing:
            raise ValueError(f"enabled needs {', '.join(missing)}")
        return self


class MlflowConfig(ConfigModel):
    """`mlflow.yaml`. Times are in seconds.

    `store_timeout` is how long a command waits for a tracking store that doesn't answer. A sweep goes on meanwhile;
    what it does waits on disk.
    """

    experiment_name: str = Field(default=DEFAULT_EXPERIMENT, min_length=1, max_length=200)
    tracking_uri: str | None = None
    azure_ml: AzureMl = AzureMl()
    artifact_timeout: int = Field(default=300, ge=1)
    store_timeout: float = Field(default=120, ge=0)
    registered_model_name: str | None = Field(default=None, pattern=r"^[^/:]+$")


def _check_pattern(pattern: str) -> str:
    names = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    if unknown := sorted(names - PLACEHOLDERS):
        raise ValueError(f"unknown placeholder {unknown[0]!r}; allowed: {', '.join(sorted(PLACEHOLDERS))}")
    if not names:
        raise ValueError("a pattern needs a placeholder, or all runs would have one name")
    return pattern


Pattern = Annotated[str, AfterValidator(_check_pattern)]


class NamingConfig(ConfigModel):
    """`naming.yaml`: one pattern for the name of each kind of run."""

    project: str = Field(default="assay", min_length=1, max_length=60)
    env: str = Field(default="local", min_length=1, max_length=30)
    study: Pattern = "{env}_{backbone}_hpo_study-{study8}"
    trial: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}"
    fold: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}_fold-{fold}"
    refit: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}_refit"
    final: Pattern = "{env}_{backbone}_final_study-{study8}_{trial8}"


class PathsConfig(ConfigModel):
    """`paths.yaml`. Relative paths start at the project root."""

    output_dir: str = "outputs"
