"""A project opened for work: configurations checked against each other, MLflow set up, the study identified."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infrastructure.config.loading import ProjectConfig, load_project_config
from infrastructure.errors import ConfigError
from infrastructure.paths.layout import OWN_FOLDERS, StudyPaths
from infrastructure.paths.utils import output_folder, resolve_project_paths_with_fallback
from infrastructure.storage.own_files import check_own
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.search_space import grid
from training.hpo.tracking.context import HpoContext
from training.hpo.tracking.setup import setup_hpo_mlflow_run, study_run_name
from training.hpo.tracking.study_runs import study_variant
from training.metric_names import check_metrics
from training.trainers.predictors import predictor_of
from training.trainers.registry import check_params


@dataclass(frozen=True)
class Project:
    """What all steps of the work share."""

    config: ProjectConfig
    context: HpoContext
    run_name: str
    paths: StudyPaths

    @property
    def model_name(self) -> str:
        """The name under which the project's models are registered."""
        return self.config.mlflow.registered_model_name or self.config.hpo.study_name


def load_and_check(config_dir: str | Path | None, overrides: Sequence[str]) -> ProjectConfig:
    """Return a project's configurations if they are sound alone and together; raise ConfigError with all faults."""
    root_dir, found = resolve_project_paths_with_fallback(config_dir=config_dir)
    config = load_project_config(found, overrides)
    objective = config.hpo.objective
    problems = [f"{found / 'hpo.yaml'} {text}" for text in (*_check_sampler(config), *_check_selection(config))]
    if config.train.trainer != "function":  # a function computes metrics of its own
        texts = check_metrics(config.data.task, objective, config.train.metrics)
        texts += _check_further_objectives(config)
        problems += [f"{found / ('train.yaml' if text.startswith('metrics') else 'hpo.yaml')} {text}" for text in texts]
    names = frozenset(config.hpo.search_space)
    for text in check_params(config.train, names, root_dir):
        file = "hpo.yaml" if text.startswith("search_space") else "train.yaml"
        problems.append(f"{found / file} {text.removeprefix('train.yaml ')}")
    if problems:
        raise ConfigError(problems)
    return config


def _check_sampler(config: ProjectConfig) -> list[str]:
    if config.hpo.sampler.type == "gp" and importlib.util.find_spec("torch") is None:
        return ["sampler.type: gp needs the package 'torch', which is not installed: pip install 'assay[transformers]'"]
    if config.hpo.sampler.type == "grid":
        try:
            grid(config.hpo.search_space)
        except ConfigError as error:
            return list(error.problems)
    return []


def _check_further_objectives(config: ProjectConfig) -> list[str]:
    """See that each further objective is computed, and looked for in the direction that is better."""
    problems = []
    for index, objective in enumerate(config.hpo.further_objectives or ()):
        key = f"further_objectives.{index}"
        if objective.metric not in config.train.metrics:
            problems.append(f"{key}.metric: {objective.metric!r} isn't computed; add it to train.yaml metrics")
        found = check_metrics(config.data.task, objective, ())
        problems += [f"{key}.{text.removeprefix('objective.')}" for text in found]
    return problems


def _check_selection(config: ProjectConfig) -> list[str]:
    """See that a model can be asked for its latency."""
    if config.hpo.selection is None:
        return []
    problems = []
    if predictor_of(config.train, config.root_dir) is None:
        problems.append("selection: its candidates are measured by their predictions; name train.yaml predict")
    if config.data.path is None:
        problems.append("selection: its candidates are measured on rows of the data; name data.yaml path")
    return problems


def open_project(
    config_dir: str | Path | None = None, overrides: Sequence[str] = (), *, force: bool = False
) -> Project:
    """Load and check a project, set up MLflow, and identify its study; creates no run.

    With `force` the study is to be started over, as a variant beside those that there are.
    Raises ConfigError with all faults of the configurations at once, and UnsafePathError for an output folder in which
    a link leads elsewhere.
    """
    config = load_and_check(config_dir, overrides)
    tracking_uri = config.mlflow.tracking_uri if any(o.startswith("mlflow.tracking_uri=") for o in overrides) else None
    setup_mlflow(config.mlflow.experiment_name, config.config_dir, tracking_uri=tracking_uri)
    output_dir = output_folder(config.root_dir, config.paths.output_dir)
    context, _ = setup_hpo_mlflow_run(
        backbone=config.train.backbone,
        study_name=config.hpo.study_name,
        output_dir=output_dir,
        run_id=time.strftime("%Y%m%d-%H%M%S"),
        should_resume=not force,
        checkpoint_enabled=not force,
        data_config=config.data,
        hpo_config=config.hpo,
        train_config=config.train,
        config_dir=config.config_dir,
    )
    variant = study_variant(context.study_key_hash, start_over=force)
    # Layer 2 read naming.yaml; overrides of it are known here alone.
    context = replace(context, naming=config.naming, variant=variant)
    run_name = study_run_name(context)
    paths = StudyPaths(output_dir, context.study_key_hash, variant)
    check_own(paths.folder, OWN_FOLDERS)
    return Project(config, context, run_name, paths)
