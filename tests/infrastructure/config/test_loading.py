"""From a config folder to typed configurations, and every fault in one report."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.config.loading import (
    ProjectConfig,
    load_mlflow_config,
    load_naming_config,
    load_project_config,
)
from infrastructure.config.schema import MlflowConfig, NamingConfig, PathsConfig
from infrastructure.config.schema.hpo import LearningSampler
from infrastructure.config.schema.search_space import Choice
from infrastructure.config.schema.train import SklearnTrain
from infrastructure.errors import ConfigError, ProjectNotFoundError

DATA = "task: classification\npath: data.csv\n"
HPO = """study_name: s
objective:
  metric: accuracy
  direction: maximize
search_space:
  C: {type: loguniform, low: 1e-5, high: 1}
  penalty: {type: choice, values: [l1, l2]}
sampler: {type: tpe, n_startup_trials: 5}
"""
TRAIN = "trainer: sklearn\nbackbone: pipeline:make\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the config folder of a project in the working directory, with the files it must have."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config"
    folder.mkdir()
    for name, text in (("data", DATA), ("hpo", HPO), ("train", TRAIN)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


def load(config: Path, *overrides: str, **environ: str) -> ProjectConfig:
    """Load a project whose environment is `environ`."""
    return load_project_config(config, overrides, environ)


def faults(config: Path, *overrides: str, **environ: str) -> list[str]:
    """Return the faults that loading reports, each of one line."""
    with pytest.raises(ConfigError) as caught:
        load(config, *overrides, **environ)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


def test_minimal_project(config: Path) -> None:
    """Three files make a project; the others have defaults, and the root is the folder above."""
    project = load(config)
    assert project.root_dir == config.parent
    assert project.config_dir == config
    assert (project.mlflow, project.naming, project.paths) == (MlflowConfig(), NamingConfig(), PathsConfig())
    assert isinstance(project.train, SklearnTrain)


def test_relative_config_dir(config: Path) -> None:
    """The root of a config folder given by a relative path is absolute."""
    assert load(Path("config")).root_dir == config.parent


def test_everything_wrong_is_reported_at_once(config: Path) -> None:
    """All faults of all files and overrides come in one error, each with file, line, key and what is allowed."""
    (config / "data.yaml").write_text("task: classification\n")
    (config / "hpo.yaml").write_text(
        """study_name: s
objective:
  metric: accuracy
  direction: max
search_space:
  C: {type: loguniform, low: 1, high: 0.5}
  x:
    type: choice
    values: [[1], 2]
  y: {low: 1}
  z: 5
sampler: {type: tpee}
pruner: {type: hyperband}
max_trial: 5
timeout: true
cv: {type: kfold, folds: 1}
"""
    )
    (config / "train.yaml").write_text("trainer: sklearn\nthreads: 010\n")
    (config / "paths.yml").write_text("")
    kinds = "'choice', 'constant', 'uniform', 'loguniform', 'stepped', 'int' or 'int-log'"
    assert faults(config, "hpo.workers=many", "hppo.x=1", "naming.trial='{tril}'") == [
        "config/paths.yml: unknown file; did you mean 'paths.yaml'?",
        "override hppo.x=1: unknown section 'hppo'; did you mean 'hpo'?",
        "config/data.yaml:1: exactly one of path and content_hash is needed",
        "config/hpo.yaml:4 objective.direction: got 'max'; allowed: 'maximize' or 'minimize'",
        "config/hpo.yaml:6 search_space.C: low must be below high, got 1.0 and 0.5",
        "config/hpo.yaml:9 search_space.x.values.0: got a list; allowed: a text, a number, true, false or null",
        f"config/hpo.yaml:10 search_space.y.type: the key is missing; allowed: {kinds}",
        "config/hpo.yaml:11 search_space.z: got 5; allowed: a mapping of keys to values",
        "config/hpo.yaml:12 sampler.type: got 'tpee'; did you mean 'tpe'? "
        "allowed: 'random', 'qmc', 'grid', 'tpe', 'gp' or 'cmaes'",
        "config/hpo.yaml:13 pruner.max_resource: the key is missing; add it",
        "config/hpo.yaml:16 cv.folds: got 1; allowed: 2 or more",
        "config/hpo.yaml:15 timeout: got true; allowed: a number",
        "override hpo.workers=many: got 'many'; allowed: a whole number",
        "config/hpo.yaml:14 max_trial: unknown key; did you mean 'max_trials'?",
        "config/train.yaml:2 threads: 010 begins with 0, which some readers take as octal; write 10 or '010'",
        "override naming.trial='{tril}': unknown placeholder 'tril'; "
        "allowed: backbone, env, fold, project, study8, trial, trial8",
    ]


def test_missing_files(config: Path, tmp_path: Path) -> None:
    """A required file that is missing is a fault, and a missing folder an error of its own."""
    (config / "hpo.yaml").rename(config / "hpos.yaml")
    assert faults(config) == [
        "config/hpos.yaml: unknown file; did you mean 'hpo.yaml'?",
        "config/hpo.yaml: no such file; create it, or run `assay init` for a project that has it",
    ]
    with pytest.raises(ProjectNotFoundError, match="no config folder at conf; run `assay init`"):
        load(tmp_path / "conf")


def test_wrong_root(config: Path) -> None:
    """A trainer that doesn't exist, and a file that names none, are told what there is."""
    (config / "train.yaml").write_text("# nothing\nbackbone: x\n")
    trainers = "'transformers', 'sklearn' or 'function'"
    assert faults(config) == [f"config/train.yaml:2 trainer: the key is missing; allowed: {trainers}"]
    assert faults(config, "train.trainer=sklern") == [
        f"override train.trainer=sklern: got 'sklern'; did you mean 'sklearn'? allowed: {trainers}"
    ]


def test_overrides(config: Path) -> None:
    """Overrides go over the files in their order, into sections, lists and files that aren't there."""
    project = load(
        config,
        "hpo.max_trials=40",
        "hpo.max_trials=41",
        "hpo.search_space.C.low=1e-4",
        "hpo.search_space.penalty.values.1=elasticnet",
        "hpo.search_space.tol={type: uniform, low: 0, high: 1}",
        "train.params.max_iter=5",
        "train.metrics=[f1_macro]",
        "mlflow.experiment_name=a: b #1",
        "data.path=x=y",
    )
    assert project.hpo.max_trials == 41
    assert project.hpo.search_space["C"].model_dump()["low"] == 1e-4
    penalty = project.hpo.search_space["penalty"]
    assert isinstance(penalty, Choice)
    assert penalty.values == ("l1", "elasticnet")
    assert "tol" in project.hpo.search_space
    assert isinstance(project.train, SklearnTrain)
    assert project.train.params == {"max_iter": 5}
    assert project.train.metrics == ("f1_macro",)
    assert project.mlflow.experiment_name == "a: b #1"
    assert project.data.path == "x=y"
    assert isinstance(project.hpo.sampler, LearningSampler)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("max_trials", "override max_trials: an override names a key and its value; write it as section.key=value"),
        ("hpo=1", "override hpo=1: an override names a key and its value; write it as section.key=value"),
        ("hpo..x=1", "override hpo..x=1: an override names a key and its value; write it as section.key=value"),
        ("", "override : an override names a key and its value; write it as section.key=value"),
        ("hpo.study_name.x=1", "override hpo.study_name.x=1: study_name holds 's', which has no keys; set it"),
        (
            "hpo.search_space.penalty.values.2=x",
            "override hpo.search_space.penalty.values.2=x: "
            "search_space.penalty.values is a list without an item '2'; allowed: 0 to 1",
        ),
        ("hpo.workrs=2", "override hpo.workrs=2: unknown key; did you mean 'workers'?"),
        (
            "hpo.objective={metric: x}",
            "override hpo.objective={metric: x}: objective.direction: the key is missing; add it",
        ),
        ("hpo.workers=\x1b[1m", "override hpo.workers=?[1m: the character U+001B is not allowed in a configuration"),
        (f"hpo.{'a.' * 99}a=1", f"override hpo.{'a.' * 47}a…: the key is nested too deep; allowed: 64 levels"),
        (
            "hpo.sampler.type=random",
            "config/hpo.yaml:8 sampler.n_startup_trials: unknown key; allowed: 'type'",
        ),
    ],
)
def test_wrong_override(config: Path, override: str, problem: str) -> None:
    """A wrong override is named with what is wrong, in one line."""
    assert faults(config, override) == [problem]


def test_environment(config: Path) -> None:
    """References are followed in files and overrides, give texts, and take the default where nothing is set."""
    (config / "mlflow.yaml").write_text(
        "tracking_uri: ${env:URI}\nexperiment_name: x-${env:NOT_SET:one}-${env:EMPTY:two}\n"
    )
    project = load(
        config, "data.path=${env:DIR}/d.csv", "paths.output_dir='${env:N:7}'", URI="http://h", DIR="/d", EMPTY=""
    )
    assert project.mlflow.tracking_uri == "http://h"
    assert project.mlflow.experiment_name == "x-one-"
    assert project.data.path == "/d/d.csv"
    assert project.paths.output_dir == "7"


def test_value_with_a_reference_in_it_is_not_followed_again(config: Path) -> None:
    """What comes from the environment is never read as a reference."""
    assert load(config, "data.path=${env:A}", A="${env:B}", B="x").data.path == "${env:B}"


def test_environment_faults(config: Path) -> None:
    """A missing variable, an incomplete reference and a control character are named with file, line and key."""
    (config / "mlflow.yaml").write_text("# x\ntracking_uri: ${env:URI}\nexperiment_name: ${env:}\n")
    assert faults(config, "data.path=${env:DIR}", "paths.output_dir=${env:BAD}", BAD="a\x00b") == [
        "override data.path=${env:DIR}: the environment variable DIR is not set; set it, or write ${env:DIR:default}",
        "config/mlflow.yaml:2 tracking_uri: "
        "the environment variable URI is not set; set it, or write ${env:URI:default}",
        "config/mlflow.yaml:3 experiment_name: a reference is incomplete; write ${env:NAME} or ${env:NAME:default}",
        "override paths.output_dir=${env:BAD}: "
        "the environment variable BAD holds a control character; allowed: printable text",
    ]


@pytest.mark.parametrize("secret", ["hunter2-{placeholder}", "7", "l1", "sklearn", "'quoted'"])
@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("hpo.max_trials=${env:S}", "got '${env:S}'; allowed: a whole number"),
        ("hpo.objective.direction=${env:S}", "got '${env:S}'; allowed: 'maximize' or 'minimize'"),
        ("hpo.sampler.type=${env:S}", "got '${env:S}'; allowed: 'random'"),
        ("naming.trial=${env:S}", "the value of '${env:S}' is not allowed here"),
        (
            "hpo.search_space.penalty.values=['${env:S}', '${env:S}']",
            "values holds a value twice: ['${env:S}', '${env:S}']",
        ),
        (
            "hpo.search_space.C.when={penalty: 'x${env:S}'}",
            "C: when asks for penalty='x${env:S}'; allowed: 'l1', 'l2'",
        ),
    ],
)
def test_secrets_are_not_shown(config: Path, secret: str, override: str, problem: str) -> None:
    """No message shows what came from the environment, whatever checked it."""
    [got] = faults(config, override, S=secret)
    assert problem in got
    if len(secret) > 3 and secret != "sklearn":
        assert secret not in got
        assert "placeholder" not in got


def test_sections_alone(config: Path) -> None:
    """Each optional file can be read alone, and is the defaults where it is missing."""
    assert load_mlflow_config(config) == MlflowConfig()
    assert load_naming_config(config.parent / "nowhere") == NamingConfig()
    (config / "mlflow.yaml").write_text("experiment_name: ${env:E}\n")
    assert load_mlflow_config(config, {"E": "e"}).experiment_name == "e"
    (config / "naming.yaml").write_text("\nprojects: x\n")
    with pytest.raises(ConfigError, match=r"^config/naming.yaml:2 projects: unknown key; did you mean 'project'\?$"):
        load_naming_config(config)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        ["hpo.cv", "hpo.search_space.C", "hpo.search_space", "train.params", "train", "mlflow.azure_ml", "x"]
    ),
    tail=st.text(max_size=8),
    value=st.text(max_size=20),
)
def test_any_override(config: Path, key: str, tail: str, value: str) -> None:
    """Whatever an override says, the answer is a configuration or a ConfigError of single lines."""
    try:
        load(config, f"{key}{tail}={value}", f"{key}={value}")
    except ConfigError as error:
        assert all(len(problem.splitlines()) == 1 for problem in error.problems)  # noqa: PT017 - either is right
