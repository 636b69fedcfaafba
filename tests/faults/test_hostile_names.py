"""Ten thousand hostile names in every place of a configuration that takes one: refused in a line, or harmless.

`NAMES` is how many.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.utils.search_utils import SearchUtils
from mlflow.utils.validation import (
    _validate_experiment_name,
    _validate_metric_name,
    _validate_model_name,
    _validate_param_name,
)
from pydantic import ValidationError

from infrastructure.config.loading import DATA, HPO, MLFLOW, NAMING, PATHS, TRAIN, Section, load_section
from infrastructure.errors import AssayError, ConfigError, TrackingError, UnsafePathError
from infrastructure.naming import fingerprints, tags
from infrastructure.naming.fingerprints import backbone_identity
from infrastructure.naming.keys import hash_document, identity_document
from infrastructure.naming.run_names import RunLabels, run_name
from infrastructure.paths.layout import StudyPaths
from infrastructure.paths.utils import output_folder
from infrastructure.tracking.mlflow import models, queries
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import FUNCTION, MakeProject
from tests.faults.hostile_names import hostile_names
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep

COUNT: Final = int(os.environ.get("NAMES", "10000"))
Values = dict[str, Any]

DATA_VALUES: Final[Values] = {"task": "custom", "path": "data"}
HPO_VALUES: Final[Values] = {
    "study_name": "s",
    "objective": {"metric": "loss", "direction": "minimize"},
    "search_space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
}
TRAIN_VALUES: Final[Values] = {"trainer": "function", "backbone": "objective:train"}


def _in_hpo(**values: object) -> Values:
    return {**HPO_VALUES, **values}


PLACES: Final[Mapping[str, tuple[Section[Any], Callable[[str], Values]]]] = {
    "study_name": (HPO, lambda name: _in_hpo(study_name=name)),
    "metric": (HPO, lambda name: _in_hpo(objective={"metric": name, "direction": "minimize"})),
    "search_space": (HPO, lambda name: _in_hpo(search_space={name: {"type": "int", "low": 0, "high": 9}})),
    "group_column": (HPO, lambda name: _in_hpo(cv={"type": "grouped", "group_column": name})),
    "folds_file": (HPO, lambda name: _in_hpo(cv={"type": "file", "folds_file": name})),
    "backbone": (TRAIN, lambda name: {"trainer": "transformers", "backbone": name}),
    "estimator": (TRAIN, lambda name: {"trainer": "sklearn", "backbone": name}),
    "function": (TRAIN, lambda name: {"trainer": "function", "backbone": name}),
    "metrics": (TRAIN, lambda name: {**TRAIN_VALUES, "metrics": [name]}),
    "final_params": (TRAIN, lambda name: {**TRAIN_VALUES, "final": {"params": {name: 1}}}),
    "experiment_name": (MLFLOW, lambda name: {"experiment_name": name}),
    "registered_model_name": (MLFLOW, lambda name: {"registered_model_name": name}),
    "env": (NAMING, lambda name: {"env": name}),
    "project": (NAMING, lambda name: {"project": name}),
    "pattern": (NAMING, lambda name: {"trial": f"{name}{{study8}}-{{trial}}"}),
    "output_dir": (PATHS, lambda name: {"output_dir": name}),
    "path": (DATA, lambda name: {"task": "custom", "path": name}),
    "label_column": (DATA, lambda name: {**DATA_VALUES, "label_column": name}),
    "feature_columns": (DATA, lambda name: {**DATA_VALUES, "feature_columns": [name]}),
}
IDENTITY: Final = {"metric": 1, "search_space": 1, "estimator": 1, "group_column": 8, "label_column": 8}
"""The places whose names are part of a study's key and so its folder; one of how many accepted names is tried."""


def accepted(place: str, names: list[str]) -> dict[str, Any]:
    """Return the configurations in which a name was accepted at a place, by the name."""
    section, values = PLACES[place]
    found: dict[str, Any] = {}
    for name in names:
        with suppress(ValidationError):
            found[name] = section.adapter.validate_python(values(name))
    assert 0 < len(found) < len(names) * 0.9
    return found


@pytest.fixture(scope="module")
def names() -> list[str]:
    """Return the hostile names."""
    return list(hostile_names(COUNT))


def test_every_refusal_is_one_line(tmp_path: Path, names: list[str]) -> None:
    """Read from a file, each name is taken as it is, or refused in one printable line with file, line and key."""
    refused = 0
    for number, name in enumerate(names):
        section, values = list(PLACES.values())[number % len(PLACES)]
        file = tmp_path / f"{section.name}.yaml"
        text = json.dumps(values(name), ensure_ascii=False, indent=1)
        for end_of_line in "\x85\u2028\u2029":  # as such, YAML reads them as spaces
            text = text.replace(end_of_line, f"\\u{ord(end_of_line):04x}")
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            config = load_section(section, tmp_path, {})
        except ConfigError as error:
            refused += 1
            for problem in error.problems:
                assert problem.startswith(f"{file}:"), problem
                assert problem.isprintable(), problem
                assert len(problem) < 1_000, problem
        else:
            assert config == section.adapter.validate_python(values(name))
        file.unlink()
    assert len(names) * 0.3 < refused < len(names) * 0.9


@pytest.mark.parametrize("place", IDENTITY)
def test_no_two_names_share_a_folder(tmp_path: Path, names: list[str], place: str) -> None:
    """Each accepted name makes a study of its own, whose files all lie in the output folder."""
    output = tmp_path / "outputs"
    folders: dict[Path, str] = {}
    models_of: dict[Section[Any], object] = {HPO: HPO.annotation, TRAIN: TRAIN.annotation, DATA: DATA.annotation}
    for name, config in accepted(place, names[:: IDENTITY[place]]).items():
        paths = StudyPaths(output, hash_document(identity_document(models_of[PLACES[place][0]], config)))
        refit_paths = paths.refit(paths.study_key_hash)
        for path in (paths.folder, paths.folds, paths.fold(0, 0).log, refit_paths.model, refit_paths.result):
            assert path.resolve().is_relative_to(output), name
        assert folders.setdefault(paths.folder, name) == name
    assert len(folders) > 30


def test_no_two_backbones_are_one(tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each accepted backbone is known by its own name, or is told that it can't be; no name passes for content."""
    (tmp_path / "wheat").mkdir()
    monkeypatch.setattr(fingerprints, "fingerprint", os.path.realpath)  # `/` would take hours
    known: dict[str, str] = {}
    told: list[str] = []
    for name in accepted("backbone", names):
        try:
            identity = backbone_identity(name, tmp_path)
        except AssayError as error:
            told.append(str(error))
            continue
        assert identity != name or not name.startswith(fingerprints.CONTENT)
        # One folder has many names: `wheat/.` is `wheat`.
        known_as = name if identity == name else os.path.realpath(tmp_path / Path(name).expanduser())
        assert known.setdefault(identity, known_as) == known_as
    assert len(told) > 20
    assert all(map(str.isprintable, told))
    assert len(known) > len(names) // 3


@pytest.mark.parametrize("place", ["study_name", "experiment_name", "env", "project", "search_space"])
def test_of_twins_one_is_taken(names: list[str], place: str) -> None:
    """No two accepted names differ only in what can't be seen: in Unicode's form, in space around them."""
    shown: dict[str, str] = {}
    for name in accepted(place, names):
        seen = "".join(c for c in unicodedata.normalize("NFC", name) if c.isprintable()).strip()
        assert shown.setdefault(seen, name) == name


def test_runs_have_plain_names(names: list[str]) -> None:
    """What a run is called has room in every store, is printable, and tells studies and trials apart."""
    naming = [*accepted("env", names).values(), *accepted("project", names).values()]
    naming += accepted("pattern", names).values()
    backbones = [*accepted("backbone", names)]
    assert len(naming) > len(names) // 2
    for number, config in enumerate(naming):
        backbone = backbones[number % len(backbones)]
        shown = set()
        for key, trial in (("a" * 64, 0), ("a" * 64, 1), ("b" * 64, 0)):
            shown.add(run_name(config, tags.STAGE_TRIAL, RunLabels(backbone, key, trial, "c" * 64)))
        assert len(shown) == 3
        assert all(name.isprintable() and len(name) <= 250 and name.strip() for name in shown), shown


@pytest.mark.parametrize(
    ("place", "check"),
    [
        ("experiment_name", _validate_experiment_name),
        ("registered_model_name", _validate_model_name),
        ("study_name", _validate_model_name),
        ("search_space", _validate_param_name),
        ("final_params", _validate_param_name),
        ("metric", lambda name: _validate_metric_name(f"valid_{name}_std")),
    ],
)
def test_mlflow_takes_what_is_accepted(names: list[str], place: str, check: Callable[[str], None]) -> None:
    """No accepted name is refused by a store later, when the work is done."""
    for name in accepted(place, names):
        try:
            check(name)
        except MlflowException as error:
            raise AssertionError(f"{name!r}") from error


def test_no_text_changes_a_query(names: list[str]) -> None:
    """A text is looked for as it is, or can't be looked for; it never says what is looked for."""
    asked = 0
    told: list[str] = []
    for name in names:
        try:
            query = f"tags.`code.stage` = {queries.quoted(name)} and tags.`z` = 'end'"
        except TrackingError as error:
            told.append(str(error))
            continue
        asked += 1
        if asked % 4 == 0:  # the parser is slow
            found = [
                (part["key"], part["comparator"], part["value"]) for part in SearchUtils.parse_search_filter(query)
            ]
            assert found == [("code.stage", "=", name), ("z", "=", "end")]
    assert asked > len(names) // 4
    assert all(map(str.isprintable, told))
    for name in accepted("study_name", names):
        assert queries.can_be_searched(name)
        parsed = _parse_model_uri(f"models:/{name}@champion")
        assert (parsed.name, parsed.alias) == (name, "champion")


def test_output_folders_stay_where_they_were_named(tmp_path: Path, names: list[str]) -> None:
    """A relative output_dir lies where its text says, or is refused: no link on the way puts it elsewhere."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (root / "outside").symlink_to(tmp_path / "elsewhere" / "deep")
    linked: list[str] = []
    told: list[str] = []
    for name in accepted("output_dir", names):
        try:
            folder = output_folder(root, name)
        except (UnsafePathError, ConfigError) as error:
            told.append(str(error))
            linked += [name] if isinstance(error, UnsafePathError) else []
            continue
        if not name.startswith(("/", "~")):
            assert Path(os.path.realpath(folder)) == Path(os.path.normpath(root / name)), name
        assert "elsewhere" not in os.path.realpath(folder)
    assert all(map(str.isprintable, told))
    assert len(linked) > 5
    assert all("outside" in name for name in linked)


NASTY: Final = (
    {
        "study_name": "．．／．．／et¢; DROP TABLE runs--%",
        "experiment_name": '/Shared/Bob\'s "best" {trial} `x` %2e%2e%2f',
        "env": "CON:‥/|<>?*",
        "project": "наука..",
        "parameter": "CON/.../x: y",
        "metric": "valid_loss-../. .x",
    },
    {
        "study_name": "-rf ~ $HOME champion! & %41;1",
        "experiment_name": "1=1 or name LIKE '%'",
        "env": "‥",
        "project": "' and tags.`x` = 'y",
        "parameter": "麦 größe..",
        "metric": "-.",
    },
)


@pytest.mark.parametrize("nasty", NASTY)
def test_nasty_names_go_all_the_way(make_project: MakeProject, tmp_path: Path, nasty: Mapping[str, str]) -> None:
    """A study of nasty names that are allowed is swept, refitted, registered, found again; no file lies elsewhere."""
    space = {nasty["parameter"]: {"type": "uniform", "low": 0.0, "high": 1.0}}
    objective = {"metric": nasty["metric"], "direction": "minimize"}
    hpo = {"study_name": nasty["study_name"], "search_space": space, "objective": objective, "max_trials": 1}
    config_dir = make_project(hpo={**hpo, "cv": {"type": "holdout"}}, backbone="objectivÖ:trÄin")
    root = config_dir.parent
    function = FUNCTION.replace('params["x"]', f"params[{nasty['parameter']!r}]").replace("def train", "def trÄin")
    function = function.replace('"loss": float', f"{nasty['metric']!r}: float")
    (root / "objectivÖ.py").write_text(function)
    (config_dir / "mlflow.yaml").write_text(json.dumps({"experiment_name": nasty["experiment_name"]}))
    (config_dir / "naming.yaml").write_text(json.dumps({"env": nasty["env"], "project": nasty["project"]}))
    before = {path for path in tmp_path.rglob("*") if root not in path.parents}
    result = sweep(config_dir)
    model = refit(config_dir)
    assert refit(config_dir).reused
    assert sweep(config_dir).trials == result.trials
    setup_mlflow(config_dir=config_dir)
    assert models.find_version(f"models:/{nasty['study_name']}@champion").run_id == model.run_id
    (trial,) = queries.find_runs({tags.STUDY_KEY: result.study_key_hash, tags.STAGE: tags.STAGE_TRIAL})
    assert set(trial.params) == {nasty["parameter"]}
    assert f"valid_{nasty['metric']}" in trial.metrics
    assert [run.run_id for run in queries.find_by_name(trial.name)] == [trial.run_id]
    assert trial.tags[tags.PROJECT] == nasty["project"]
    assert {path for path in tmp_path.rglob("*") if root not in path.parents} == before
    allowed = {"config", "data", "mlartifacts", "mlflow.db", "outputs", ".assay", "__pycache__", "calls.jsonl"}
    allowed |= {"objective.py", "objectivÖ.py", ".mlflow.db.lock"}
    assert {path.name for path in root.iterdir()} <= allowed
    assert {path.name for path in (root / "outputs").iterdir()} == {".locks", result.study_key_hash[:16]}


@pytest.mark.parametrize(
    "call",
    [
        partial(setup_mlflow, "a\0b"),
        partial(setup_mlflow, "../x"),
        partial(setup_mlflow, "\ud800"),
        partial(queries.find_runs, {tags.STUDY_KEY: "a\\"}),
    ],
)
def test_callers_in_python_are_told_too(make_project: MakeProject, call: Callable[[], object]) -> None:
    """What the functions of the layers are given is checked as what the files say."""
    setup_mlflow(config_dir=make_project())
    with pytest.raises(AssayError) as caught:
        call()
    assert str(caught.value).isprintable()
