"""The configurations that Assay ships: they load, and every key of the templates is explained."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from infrastructure.config.loading import load_project_config
from infrastructure.config.schema import MlflowConfig, NamingConfig, PathsConfig
from infrastructure.config.yaml_reader import read_yaml
from training.metric_names import check_metrics
from training.project_template import TEMPLATES, create_project

EXAMPLES = Path(__file__).parent.parent / "examples"
ALL_TEMPLATES = sorted(TEMPLATES)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a project of each template."""
    folders = {template: tmp_path_factory.mktemp(template) for template in TEMPLATES}
    for template, folder in folders.items():
        create_project(folder, template)
    return folders


def load_module(path: Path) -> ModuleType:
    """Import a module that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("config_dir", sorted(EXAMPLES.glob("*/config")), ids=lambda path: path.parent.name)
def test_example_loads(config_dir: Path) -> None:
    """Every example's configuration is valid, and its metrics belong to its task."""
    project = load_project_config(config_dir, environ={"WNUT17_DIR": "/data/wnut17"})
    assert check_metrics(project.data.task, project.hpo.objective, project.train.metrics) == []
    assert project.mlflow.experiment_name == project.hpo.study_name


@pytest.mark.parametrize("template", ALL_TEMPLATES)
@pytest.mark.parametrize("name", ["data", "hpo", "train", "mlflow", "naming", "paths"])
def test_every_key_of_a_template_is_explained(projects: dict[str, Path], template: str, name: str) -> None:
    """Each line that sets a single value carries a comment, and a section has one on a line of its keys."""
    path = projects[template] / "config" / f"{name}.yaml"
    document = read_yaml(path)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    for key_path, line in document.lines.items():
        if key_path and isinstance(key_path[-1], str):
            inside = [number for other, number in document.lines.items() if other[: len(key_path)] == key_path]
            assert any("  #" in lines[number - 1] for number in inside), f"{path.name}:{line} {key_path} has no comment"


@pytest.mark.parametrize(
    ("name", "model"), [("mlflow", MlflowConfig), ("naming", NamingConfig), ("paths", PathsConfig)]
)
def test_template_shows_every_setting(projects: dict[str, Path], name: str, model: type[BaseModel]) -> None:
    """The small files of the templates show every key that there is."""
    assert set(read_yaml(projects["tabular"] / "config" / f"{name}.yaml").values) == set(model.model_fields)


def test_template_names_are_the_defaults(projects: dict[str, Path]) -> None:
    """The templates' patterns are the defaults, so that they explain what happens without them."""
    naming = load_project_config(projects["tabular"] / "config", environ={}).naming
    assert naming.model_copy(update={"project": "assay"}) == NamingConfig()


def test_pipeline_has_the_searched_settings(projects: dict[str, Path]) -> None:
    """The scikit-learn template's pipeline has every setting that its configuration names."""
    project = load_project_config(projects["tabular"] / "config", environ={})
    estimator = load_module(projects["tabular"] / "pipeline.py").make_pipeline()
    names = {*project.hpo.search_space, *json.loads(project.train.model_dump_json())["params"]}
    assert names <= set(estimator.get_params())


def test_training_function(projects: dict[str, Path], tmp_path: Path) -> None:
    """The function template's loop learns, reports every epoch, repeats itself, and predicts from what it saved."""
    fit = load_module(projects["function"] / "fit.py")
    table = pd.read_csv(projects["function"] / "data" / "train.csv")
    train, valid = table[:250], table[250:]
    params = {"learning_rate": 0.02, "degree": 2, "l2": 0.01, "epochs": 10, "batch_size": 32}
    results = []
    for _ in range(2):
        reported: list[float] = []
        result = fit.train(
            params=params,
            train=train,
            valid=valid,
            test=valid,
            report=lambda epoch, metrics: reported.append(metrics[fit.METRIC]),  # noqa: B023 - used in this round only
            seed=3,
            model_dir=tmp_path,
        )
        results.append((result, reported))
    assert results[0] == results[1]
    result, reported = results[0]
    assert len(reported) == 10
    assert reported[-1] == result["root_mean_squared_error"] == result["test_root_mean_squared_error"]
    assert reported[-1] < reported[0]
    error = np.array(fit.predict(tmp_path, valid.drop(columns="target"))) - valid["target"].to_numpy()
    assert float(np.sqrt(np.mean(error**2))) == pytest.approx(result["root_mean_squared_error"])
