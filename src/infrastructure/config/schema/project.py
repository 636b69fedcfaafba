"""`mlflow.yaml`, `executor.yaml`, `naming.yaml`, `paths.yaml`: where runs, work and files go, and their names."""

from __future__ import annotations

import string
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from infrastructure.config.schema.base import NOT_IDENTITY, ConfigModel
from infrastructure.config.schema.names import ExperimentName, ModelName, Name, PathText, check_name
from infrastructure.redaction import is_credential_name

DEFAULT_EXPERIMENT = "assay"
LONGEST_VALUES: Final = {"env": 30, "project": 60, "backbone": 60, "study8": 8, "trial": 8, "trial8": 8, "fold": 3}
"""The placeholders of run names, and how many characters each stands for at most."""

NOT_OF_A_STUDY: Final = frozenset({"trial", "trial8", "fold"})
"""The placeholders that are empty or the same in the name of a study's own run."""

LONGEST_RUN_NAME: Final = 250
"""Characters of a run's name; MLflow's databases have room for as many."""


class AzureJob(ConfigModel):
    """What `assay submit --azureml` runs a sweep on, with what, and with which data.

    Without `compute` it is serverless compute, of which `instance_type` is a size of machine and `spot` the cheap kind
    that may be taken away; a cluster has both of its own. `environment` is a registered or curated one, such as
    `azureml:NAME@latest`; otherwise an `image` in which `requirements` are installed by pip. `data` is a registered
    data asset, such as `azureml:NAME@latest`, or a folder of the project to be uploaded; it is mounted for reading.
    """

    compute: Annotated[str | None, NOT_IDENTITY] = None
    instance_type: Annotated[str | None, NOT_IDENTITY] = None
    spot: Annotated[bool, NOT_IDENTITY] = False
    environment: Annotated[str | None, NOT_IDENTITY] = None
    image: Annotated[str | None, NOT_IDENTITY] = None
    requirements: Annotated[tuple[str, ...], NOT_IDENTITY, Field(strict=False)] = ("assay[azure]",)
    data: Annotated[str | None, NOT_IDENTITY] = None
    environment_variables: Annotated[dict[str, str], NOT_IDENTITY] = Field(default={})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.compute and (self.spot or self.instance_type):
            raise ValueError("spot and instance_type are of serverless compute; a cluster has its own: leave one out")
        if self.environment and self.image:
            raise ValueError("environment and image are two ways to say the same; leave one out")
        if secret := next(filter(is_credential_name, self.environment_variables), None):
            raise ValueError(
                f"environment_variables: {secret} is a credential, which everybody would read who sees the job; "
                "let the job fetch it from a key vault"
            )
        return self


class AzureMl(ConfigModel):
    """The Azure ML workspace whose tracking store is used when `enabled`, and what jobs run on there."""

    enabled: bool = False
    subscription_id: str | None = None
    resource_group: str | None = None
    workspace_name: str | None = None
    job: Annotated[AzureJob, NOT_IDENTITY] = AzureJob()

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

    experiment_name: ExperimentName = Field(default=DEFAULT_EXPERIMENT, max_length=200)
    tracking_uri: str | None = None
    azure_ml: AzureMl = AzureMl()
    artifact_timeout: int = Field(default=300, ge=1)
    store_timeout: float = Field(default=120, ge=0)
    registered_model_name: ModelName | None = Field(default=None, max_length=100)


def _check_pattern(pattern: str) -> str:
    parts = [part for part in string.Formatter().parse(pattern) if part[1] is not None]
    names = {name for _, name, _, _ in parts if name is not None}
    if unknown := sorted(names - LONGEST_VALUES.keys()):
        raise ValueError(f"unknown placeholder {unknown[0]!r}; allowed: {', '.join(sorted(LONGEST_VALUES))}")
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError("a placeholder is a name alone; write {trial} without ':' or '!'")
    if not names - NOT_OF_A_STUDY:
        raise ValueError(
            "a pattern needs one of env, project, backbone and study8, or runs of all studies have one name"
        )
    if (
        longest := len(pattern.format_map({name: "x" * size for name, size in LONGEST_VALUES.items()}))
    ) > LONGEST_RUN_NAME:
        raise ValueError(f"names by this pattern can have {longest} characters; allowed: {LONGEST_RUN_NAME}")
    return check_name(pattern)


Pattern = Annotated[str, Field(max_length=LONGEST_RUN_NAME), AfterValidator(_check_pattern)]


class Resources(ConfigModel):
    """What one training takes of a Ray node: processors, graphics processors (0.5 is half of one), and custom ones."""

    cpu: float = Field(default=1, gt=0)
    gpu: float = Field(default=0, ge=0)
    custom: dict[Name, float] = Field(default_factory=dict)


class ExecutorConfig(ConfigModel):
    """`executor.yaml`: where trainings run.

    `local` is this machine, each in a process of its own. `ray` is the Ray cluster at `ray_address`, `host:port` or
    `auto`; without one that of RAY_ADDRESS, or else a cluster of its own on this machine.
    """

    type: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    resources: Resources = Resources()


class NamingConfig(ConfigModel):
    """`naming.yaml`: one pattern for the name of each kind of run."""

    project: Name = Field(default="assay", max_length=60)
    env: Name = Field(default="local", max_length=30)
    study: Pattern = "{env}_{backbone}_hpo_study-{study8}"
    trial: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}"
    fold: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}_fold-{fold}"
    refit: Pattern = "{env}_{backbone}_hpo_study-{study8}_trial-{trial}_refit"
    final: Pattern = "{env}_{backbone}_final_study-{study8}_{trial8}"


class PathsConfig(ConfigModel):
    """`paths.yaml`. Relative paths start at the project root."""

    output_dir: PathText = "outputs"
