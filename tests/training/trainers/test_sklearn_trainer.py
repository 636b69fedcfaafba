"""The scikit-learn trainer with real estimators."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from tests.training.trainers.conftest import MakeRequest

from infrastructure.errors import ConfigError, DataError
from training.trainers.registry import load_trainer

FOREST: dict[str, object] = {"trainer": "sklearn", "backbone": "sklearn.ensemble.RandomForestClassifier"}


def no_report(step: int, metrics: object) -> None:
    """Take no reports, as the trainer makes none."""
    raise AssertionError(step, metrics)


def table(rows: int = 60) -> pd.DataFrame:
    """Make a noisy table."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 3))
    label = (values[:, 0] + 0.7 * rng.normal(size=rows) > 0).astype(int)
    return pd.DataFrame({"x": values[:, 0], "y": values[:, 1], "z": values[:, 2], "label": label})


FRAMES = {"train": table().iloc[:40], "valid": table().iloc[40:50], "test": table().iloc[50:]}


def test_same_request_same_result(make_request: MakeRequest) -> None:
    """The seed decides the result, and reaches estimators that a pipeline hides."""
    train: dict[str, object] = {**FOREST, "metrics": ["accuracy", "roc_auc"]}

    def fit(seed: int) -> dict[str, float]:
        request = make_request(
            task="classification",
            train=train,
            frames=FRAMES,
            metric="log_loss",
            direction="minimize",
            params={"n_estimators": 7},
            seed=seed,
        )
        return load_trainer("sklearn").fit(request, no_report).valid

    assert fit(1) == fit(1)
    assert set(fit(1)) == {"log_loss", "accuracy", "roc_auc"}
    assert fit(1) != fit(2)


def test_model_is_saved_and_loads(make_request: MakeRequest, tmp_path: Path) -> None:
    """The saved model predicts, and its description says what it is fed with."""
    request = make_request(
        task="classification",
        train=FOREST,
        frames=FRAMES,
        metric="accuracy",
        data={"feature_columns": ["x", "y"]},
        model_dir=tmp_path / "model",
    )
    result = load_trainer("sklearn").fit(request, no_report)
    described = json.loads((tmp_path / "model" / "assay_model.json").read_text())
    assert described["features"] == ["x", "y"]
    assert described["labels"] == ["0", "1"]
    assert described["trusted_types"] == ["sklearn.tree._tree.Tree"]
    model = skops.io.load(tmp_path / "model" / "model.skops", trusted=described["trusted_types"])
    accuracy = (model.predict(FRAMES["test"][["x", "y"]]) == FRAMES["test"]["label"]).mean()
    assert result.test == {"accuracy": pytest.approx(accuracy)}


def test_regression(make_request: MakeRequest) -> None:
    """Numbers are predicted and measured."""
    frames = {name: frame.assign(label=2 * frame["x"] + 1) for name, frame in FRAMES.items()}
    train: dict[str, object] = {"trainer": "sklearn", "backbone": "sklearn.linear_model:LinearRegression"}
    request = make_request(task="regression", train=train, frames=frames, metric="r2")
    assert load_trainer("sklearn").fit(request, no_report).valid == {"r2": pytest.approx(1.0)}


def test_text_pipeline_of_the_projects_own(
    make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that begins with a vectorizer gets texts, and its steps are reached by `step__name`."""
    (tmp_path / "assay_test_text.py").write_text(
        "from sklearn.feature_extraction.text import TfidfVectorizer\nfrom sklearn.pipeline import Pipeline\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "def make():\n    return Pipeline([('words', TfidfVectorizer()), ('model', LogisticRegression())])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    frame = pd.DataFrame({"text": ["good film", "bad film", "good", "bad"] * 3, "label": ["+", "-", "+", "-"] * 3})
    request = make_request(
        task="text_classification",
        train={"trainer": "sklearn", "backbone": "assay_test_text:make"},
        frames={"train": frame, "valid": frame},
        metric="f1_macro",
        params={"model__C": 10, "words__ngram_range": [1, 1]},
        model_dir=tmp_path / "model",
    )
    with pytest.raises(Exception, match="ngram_range"):  # a list where scikit-learn wants a tuple is its own error
        load_trainer("sklearn").fit(request, no_report)
    request = make_request(
        task="text_classification",
        train={"trainer": "sklearn", "backbone": "assay_test_text:make"},
        frames={"train": frame, "valid": frame},
        metric="f1_macro",
        params={"model__C": 10},
        model_dir=tmp_path / "model",
    )
    assert load_trainer("sklearn").fit(request, no_report).valid == {"f1_macro": 1.0}
    assert (tmp_path / "model" / "model.skops").is_file()
    sys.modules.pop("assay_test_text")


def test_untrusted_types_are_refused_by_name(
    make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a type of the user's own is saved only if it is listed."""
    (tmp_path / "assay_test_own.py").write_text(
        "from sklearn.linear_model import LogisticRegression\nclass Own(LogisticRegression):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for trusted in ((), ("assay_test_own.Own",)):
        request = make_request(
            task="classification",
            train={"trainer": "sklearn", "backbone": "assay_test_own.Own", "trusted_types": trusted},
            frames=FRAMES,
            metric="accuracy",
            model_dir=tmp_path / "model",
        )
        if trusted:
            load_trainer("sklearn").fit(request, no_report)
            described = json.loads((tmp_path / "model" / "assay_model.json").read_text())
            assert described["trusted_types"] == ["assay_test_own.Own"]
        else:
            with pytest.raises(ConfigError, match=r"trusted_types: the model has the type assay_test_own\.Own"):
                load_trainer("sklearn").fit(request, no_report)
            assert not (tmp_path / "model").exists()
    sys.modules.pop("assay_test_own")


@pytest.mark.parametrize(
    ("train", "params", "expected"),
    [
        (FOREST, {"max_dept": 3}, "did you mean 'max_depth'"),
        ({**FOREST, "backbone": "sklearn.pipeline.Pipeline"}, {}, "needs arguments"),
        ({**FOREST, "backbone": "pathlib.Path"}, {}, "makes no estimator"),
        ({**FOREST, "backbone": "sys.path"}, {}, "is no class or function"),
        ({**FOREST, "backbone": "sklearn.svm.LinearSVC", "metrics": ["roc_auc"]}, {}, "needs class probabilities"),
    ],
)
def test_bad_configuration_is_refused(
    make_request: MakeRequest, train: dict[str, object], params: dict[str, object], expected: str
) -> None:
    """An estimator, hyperparameter or metric that can't be used is an error of the configuration."""
    request = make_request(task="classification", train=train, frames=FRAMES, metric="accuracy", params=params)
    with pytest.raises(ConfigError, match=expected):
        load_trainer("sklearn").fit(request, no_report)


def test_rows_are_needed(make_request: MakeRequest) -> None:
    """Without rows there is nothing to learn from."""
    request = make_request(task="classification", train=FOREST, frames={}, metric="accuracy")
    with pytest.raises(DataError, match="needs rows"):
        load_trainer("sklearn").fit(request, no_report)
