"""The same configuration, however it is spelled, wherever it lies, whoever reads it, has the same key."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.conftest import REPOSITORY
from tests.identity_walk import EXAMPLES, MODELS, Values, in_a_project

from infrastructure.config.loading import load_project_config
from infrastructure.config.schema import HpoConfig, train
from infrastructure.naming.keys import study_identity

Json = object


def key_of(config_dir: Path) -> str:
    """Return the study key of a config folder."""
    config = load_project_config(config_dir)
    found = study_identity(config.data, config.hpo, config.train, config.train.backbone, config.root_dir)
    return found.study_key_hash


def spell(value: Json, rng: random.Random, indent: int = 0) -> str:
    """Return a value as YAML, in one of its many spellings, to be put behind `key:` or `-`."""
    if isinstance(value, Mapping):
        items = list(value.items())
        rng.shuffle(items)
        if not items or rng.random() < 0.3:
            return "{" + ", ".join(f"{_text(key, rng)}: {_flow(item, rng)}" for key, item in items) + "}"
        pad = " " * (indent + rng.choice((1, 2, 4)))
        lines = [f"{pad}{_text(key, rng)}: {spell(item, rng, len(pad))}{_comment(rng)}" for key, item in items]
        return _comment(rng) + "\n" + "\n".join(lines)
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.5:
        pad = " " * (indent + rng.choice((0, 2)))
        return "\n" + "\n".join(f"{pad}- {_flow(item, rng)}{_comment(rng)}" for item in value)
    return _flow(value, rng)


def _comment(rng: random.Random) -> str:
    return rng.choice(("", "", "  # a comment: {with} [signs]", "\n\n# a line of its own"))


def _flow(value: Json, rng: random.Random) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key, rng)}: {_flow(item, rng)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item, rng) for item in value) + rng.choice(("]", ",]" if value else "]"))
    if value is None:
        return rng.choice(("null", "~", "Null"))
    if isinstance(value, bool):
        return rng.choice((str(value), str(value).lower(), str(value).upper()))
    if isinstance(value, int):
        return rng.choice((str(value), f"{value:+d}", hex(value) if value >= 0 else str(value)))
    if isinstance(value, float):
        plain = f"{Decimal(repr(value)):f}"
        spelled = (repr(value), f"{value:.17e}", f"{value:.17E}", plain if "." in plain else f"{plain}.0")
        return rng.choice(spelled)
    return _text(str(value), rng)


def _text(text: str, rng: random.Random) -> str:
    spelled = [json.dumps(text), json.dumps(text, ensure_ascii=False)]
    if re.fullmatch(r"[ -~]+", text):
        spelled.append("'" + text.replace("'", "''") + "'")
    if re.fullmatch(r"[A-Za-z_]{3,}", text) and text.lower() not in {"null", "true", "false"}:
        spelled.append(text)
    return rng.choice(spelled)


FLOATS = st.floats(min_value=-1e9, max_value=1e9).filter(lambda value: value == 0 or abs(value) > 1e-9)
NAMES = st.sampled_from(["alpha", "C", "layer_1", "größe", "on", "true", "1", "a b"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | st.text("aé1.#: '\"", max_size=6)
RANGES = st.tuples(FLOATS, FLOATS).filter(lambda pair: pair[0] != pair[1]).map(sorted)
PARAMETERS = st.one_of(
    RANGES.map(lambda pair: {"type": "uniform", "low": pair[0], "high": pair[1]}),
    st.lists(SCALARS, min_size=1, max_size=4, unique=True).map(lambda values: {"type": "choice", "values": values}),
    SCALARS.map(lambda value: {"type": "constant", "value": value}),
    st.tuples(st.integers(-99, 0), st.integers(1, 99)).map(lambda p: {"type": "int", "low": p[0], "high": p[1]}),
)


def example_of(field: str) -> st.SearchStrategy[Values]:
    """Return a choice of the models' examples that may stand in a field of `hpo.yaml`."""
    found = [values for model, values in EXAMPLES.items() if in_a_project(model, values)["hpo"].get(field) is values]
    return st.sampled_from(found)


CONFIGS = st.fixed_dictionaries(
    {
        "data": st.just({"task": "regression", "path": "data", "label_column": "y"}),
        "hpo": st.fixed_dictionaries(
            {
                "study_name": st.just("s"),
                "objective": st.just({"metric": "r2", "direction": "maximize"}),
                "search_space": st.dictionaries(NAMES, PARAMETERS, min_size=1, max_size=4),
            },
            optional={
                "sampler": example_of("sampler"),
                "pruner": example_of("pruner"),
                "fold_pruner": example_of("fold_pruner"),
                "cv": example_of("cv"),
                "seed": st.integers(0, 2**32 - 1),
            },
        ),
        "train": st.fixed_dictionaries(
            {"trainer": st.just("sklearn"), "backbone": st.just("sklearn.linear_model.Ridge")},
            optional={"params": st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3), max_size=3)},
        ),
    }
)


def write(root: Path, sections: Mapping[str, Values], rng: random.Random | None) -> Path:
    """Write a project and return its config folder: as JSON, or in a spelling of its own."""
    (root / "config").mkdir(parents=True)
    for name, content in {"data/train.csv": "x,y\n1,2\n", "folds.json": "[]"}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    for section, values in sections.items():
        text = json.dumps(values) if rng is None else spell(values, rng)
        (root / "config" / f"{section}.yaml").write_text(text)
    return root / "config"


@settings(deadline=None)
@given(CONFIGS, st.randoms(use_true_random=False))
def test_spelling_and_place_do_not_matter(sections: Mapping[str, Values], rng: random.Random) -> None:
    """Key order, style, quotes, comments, the digits of a number and the folder leave the key as it is."""
    with tempfile.TemporaryDirectory() as folder:
        plain = key_of(write(Path(folder, "plain"), sections, None))
        assert key_of(write(Path(folder, "else", "where"), sections, rng)) == plain


def place_value(where: str, value: Json) -> dict[str, Values]:
    """Return a configuration with a value of the user's own in one of the places that take any."""
    choice = {"type": "choice", "values": [value]} if where == "choice" else {"type": "constant", "value": value}
    space = {"x": choice if where != "params" else {"type": "constant", "value": 1}}
    return {
        "data": {"task": "regression", "path": "data"},
        "hpo": {**EXAMPLES[HpoConfig], "objective": {"metric": "r2", "direction": "maximize"}, "search_space": space},
        "train": {**EXAMPLES[train.SklearnTrain], **({"params": {"x": value}} if where == "params" else {})},
    }


@settings(deadline=None)
@given(st.sampled_from(["choice", "constant", "params"]), SCALARS, SCALARS)
@example("params", 1, True)
@example("choice", 0, False)
@example("constant", 1, "1")
@example("params", 1, 1.0)
@example("choice", "", None)
@example("constant", 0.1 + 0.2, 0.3)
def test_another_value_is_another_key(where: str, one: Json, two: Json) -> None:
    """Two values have one key only if they are one value of one kind; 1 and 1.0 are one number, true and "1" none."""
    kinds = {float if type(value) is int else type(value) for value in (one, two)}
    with tempfile.TemporaryDirectory() as folder:
        keys = [key_of(write(Path(folder, str(n)), place_value(where, v), None)) for n, v in enumerate((one, two))]
    assert (keys[0] == keys[1]) is (len(kinds) == 1 and one == two)


PRINT_KEYS = """
import json, sys
from pathlib import Path
from infrastructure.config.loading import load_project_config
from infrastructure.naming.keys import study_identity, trial_key_hash
for folder in json.load(sys.stdin):
    c = load_project_config(Path(folder))
    study = study_identity(c.data, c.hpo, c.train, c.train.backbone, c.root_dir).study_key_hash
    print(study, trial_key_hash(study, {"x": 0.1 + 0.2, "n": 3, "on": True, "é": None}))
"""


@pytest.fixture(scope="module")
def one_project_a_model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return config folders in which every model of the configuration stands once."""
    root = tmp_path_factory.mktemp("projects")
    models: list[type[BaseModel]] = MODELS
    return [
        str(write(root / model.__name__, in_a_project(model, EXAMPLES[model]), random.Random(model.__name__)))
        for model in models
    ]


def keys_in(python: str, hash_seed: str, folders: list[str]) -> list[str]:
    """Return the keys that another interpreter computes."""
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY / "src"), "PATH": ""}
    command = [python, "-c", PRINT_KEYS]
    done = subprocess.run(
        command, input=json.dumps(folders), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def expected(one_project_a_model: list[str]) -> list[str]:
    """Return the keys that this interpreter computes in another process."""
    keys = keys_in(sys.executable, "0", one_project_a_model)
    assert [key.split()[0] for key in keys] == [key_of(Path(folder)) for folder in one_project_a_model]
    return keys


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_hash_seed_does_not_matter(one_project_a_model: list[str], expected: list[str], seed: str) -> None:
    """Another PYTHONHASHSEED gives the same keys."""
    assert keys_in(sys.executable, seed, one_project_a_model) == expected
    assert len(set(expected)) > len(expected) // 2


def other_python(version: str, folder: Path) -> str:
    """Return another Python with what identity needs; skip the test where there is none, or no package for it."""
    installed = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{version}.*/bin/python")
    for candidate in (shutil.which(f"python{version}"), *sorted(map(str, installed))):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip(f"Python {version} is not installed here")
    subprocess.run([candidate, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--retries=0", "--timeout=5", "--disable-pip-version-check"]
    packages = ["--constraint", str(REPOSITORY / "requirements.lock"), "blake3", "pydantic", "pyyaml", "rfc8785"]
    done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no packages for Python {version}: {done.stderr.splitlines()[-1]}")
    return python


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_version_of_python_does_not_matter(
    one_project_a_model: list[str], expected: list[str], version: str, tmp_path: Path
) -> None:
    """Python 3.11 to 3.13, where they are installed, compute the same keys."""
    assert keys_in(other_python(version, tmp_path), "7", one_project_a_model) == expected
