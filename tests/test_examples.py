"""The configurations that Assay ships: they load, and every key of the template is explained."""

from __future__ import annotations

import csv
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
from infrastructure.config.schema.data import DataConfig
from infrastructure.config.yaml_reader import read_yaml
from training.metric_names import check_metrics

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TEMPLATE = ROOT / "src" / "training" / "cli" / "templates" / "resume-ner" / "config"
CONFIGS = [*sorted(EXAMPLES.glob("*/config")), TEMPLATE]


def load_module(path: Path) -> ModuleType:
    """Import a module that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("config_dir", CONFIGS, ids=lambda path: path.parent.name)
def test_configuration_loads(config_dir: Path) -> None:
    """Every shipped configuration is valid, and its metrics belong to its task."""
    project = load_project_config(config_dir, environ={"WNUT17_DIR": "/data/wnut17"})
    assert check_metrics(project.data.task, project.hpo.objective, project.train.metrics) == []
    assert project.mlflow.experiment_name == project.hpo.study_name


def test_all_examples_are_there() -> None:
    """The examples are those that the documentation names."""
    assert [path.parent.name for path in CONFIGS] == ["breast_cancer", "curve_fit", "wnut17", "resume-ner"]


@pytest.mark.parametrize("path", sorted(TEMPLATE.glob("*.yaml")), ids=lambda path: path.name)
def test_every_key_of_the_template_is_explained(path: Path) -> None:
    """Each line that sets a single value carries a comment, and a section has one on a line of its keys."""
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
def test_template_shows_every_setting(name: str, model: type[BaseModel]) -> None:
    """The small files of the template show every key that there is."""
    assert set(read_yaml(TEMPLATE / f"{name}.yaml").values) == set(model.model_fields)


def test_template_names_are_the_defaults() -> None:
    """The template's patterns are the defaults, so that it explains what happens without it."""
    naming = load_project_config(TEMPLATE, environ={}).naming
    assert naming.model_copy(update={"project": "assay"}) == NamingConfig()


@pytest.mark.parametrize(
    ("example", "sizes"), [("breast_cancer", {"train": 455, "test": 114}), ("curve_fit", {"train": 353, "test": 89})]
)
def test_tables(example: str, sizes: dict[str, int]) -> None:
    """The tables have the rows that their configuration says, and the target column."""
    data: DataConfig = load_project_config(EXAMPLES / example / "config", environ={}).data
    for split, size in sizes.items():
        with (EXAMPLES / example / "data" / f"{split}.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
        assert len(table) == size
        assert all(row[data.label_column] for row in table)
        if example == "breast_cancer":
            assert {row["target"] for row in table} == {"malignant", "benign"}


def test_pipeline_has_the_searched_settings() -> None:
    """The scikit-learn example's pipeline has every setting that its configuration names."""
    project = load_project_config(EXAMPLES / "breast_cancer" / "config", environ={})
    estimator = load_module(EXAMPLES / "breast_cancer" / "pipeline.py").make_pipeline()
    names = {*project.hpo.search_space, *json.loads(project.train.model_dump_json())["params"]}
    assert names <= set(estimator.get_params())


def test_training_function(tmp_path: Path) -> None:
    """The function example learns, reports every epoch, repeats itself, and predicts from what it saved."""
    fit = load_module(EXAMPLES / "curve_fit" / "fit.py")
    table = pd.read_csv(EXAMPLES / "curve_fit" / "data" / "train.csv")
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
