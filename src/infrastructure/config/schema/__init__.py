"""The configuration models: one for each YAML file of a project's config folder."""

from infrastructure.config.schema.data import DataConfig
from infrastructure.config.schema.hpo import HpoConfig
from infrastructure.config.schema.project import ExecutorConfig, MlflowConfig, NamingConfig, PathsConfig
from infrastructure.config.schema.train import TrainConfig

__all__ = ["DataConfig", "ExecutorConfig", "HpoConfig", "MlflowConfig", "NamingConfig", "PathsConfig", "TrainConfig"]
