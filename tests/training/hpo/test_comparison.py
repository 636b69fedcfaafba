"""What differs between two configurations: every field of every model, by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.identity_walk import FIELD_NAMES, FIELDS, OUTSIDE_IDENTITY, PLACES, Values, before_and_after, in_a_project

from infrastructure.config.schema import DataConfig, hpo, train
from infrastructure.config.schema.base import is_identity
from infrastructure.naming.differences import Difference
from training.hpo.comparison import compare_configs

# What these fields are named by: what counts is the content that they lead to.
STANDS_FOR: dict[tuple[type[BaseModel], str], str] = {
    (DataConfig, "content_hash"): "data.fingerprint",
    (hpo.FoldsFile, "folds_file"): "hpo.folds_fingerprint",
    (hpo.BanditPruner, "slack_amount"): "hpo.pruner",  # it takes the place of slack_factor
    **{(model, "backbone"): "backbone" for model in (train.TransformersTrain, train.SklearnTrain, train.FunctionTrain)},
}


def write_project(root: Path, model: type[BaseModel], values: Values) -> Path:
    """Write a project whose configuration holds a model with these values, with data; return its config folder."""
    (root / "config").mkdir(parents=True)
    for folder in ("data", "elsewhere"):
        (root / folder).mkdir()
        (root / folder / "train.jsonl").write_text("{}")
    (root / "folds.json").write_text("[]")
    (root / "other").write_text("[0]")
    for section, content in in_a_project(model, values).items():
        (root / "config" / f"{section}.yaml").write_text(json.dumps(content))
    return root / "config"


def all_below(found: tuple[Difference, ...], name: str) -> bool:
    """Tell whether there are differences, all of them in a field or within it."""
    return bool(found) and all(f"{difference.field}.".startswith(f"{name}.") for difference in found)


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=FIELD_NAMES)
def test_each_field_is_named(tmp_path: Path, model: type[BaseModel], name: str) -> None:
    """Two configurations that differ in one field differ in that field, by its name, and on the side it belongs to."""
    before, after = before_and_after(model, name)
    found = compare_configs(
        write_project(tmp_path / "one", model, before), write_project(tmp_path / "two", model, after)
    )
    place = f"{PLACES[model].field}.{name}"
    if (model, name) in STANDS_FOR:
        assert all_below(found.identity, STANDS_FOR[model, name])
    elif (model, name) in OUTSIDE_IDENTITY:
        assert found.identity == ()
        assert all_below(found.other, place)
    else:
        assert is_identity(model.model_fields[name])
        assert all_below(found.identity, place)
        assert found.other == ()


def test_folders_are_compared_without_a_store(tmp_path: Path) -> None:
    """`assay diff` of two folders imports none of the heavy libraries."""
    folders = [write_project(tmp_path / name, hpo.Sampler, {"type": name}) for name in ("random", "qmc")]
    code = (
        "import sys; from click.testing import CliRunner; from training.cli.main import cli; "
        f"r = CliRunner().invoke(cli, ['diff', *{[str(f) for f in folders]!r}]); print(r.output); "
        "print({'mlflow', 'optuna', 'torch', 'pandas', 'numpy', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hpo.sampler.type: random → qmc" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
