"""The transformers trainer: tiny models made on the fly, and the real MiniLM on real tweets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.training.trainers.conftest import MakeRequest
from tests.training.trainers.tiny import MINILM
from transformers import AutoModelForTokenClassification, AutoTokenizer

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.data import MaxSamples
from infrastructure.errors import ConfigError, DataError
from training.data.datasets import load_dataset
from training.trainers.backbones import resolve_backbone
from training.trainers.base import FitRequest, FitResult
from training.trainers.registry import load_trainer
from training.trainers.transformers_heads import IGNORED, TokenHead, balanced_weights

ROOT = Path(__file__).parents[3]
WNUT = ROOT.parent / "shared" / "data" / "wnut17"
SPANS = {"spans_column": "spans"}
CITIES = ["paris", "london", "berlin", "rome"]


def sentences(rows: int) -> pd.DataFrame:
    """Make sentences in which the cities are places."""
    texts, spans = [], []
    for number in range(rows):
        city = CITIES[number % 4]
        lead = "we went to " if number % 2 else "she likes "
        texts.append(f"{lead}{city} {'again ' * (number % 3)}today")
        spans.append([(len(lead), len(lead) + len(city), "place")])
    return pd.DataFrame({"text": texts, "spans": spans})


def reviews(rows: int) -> pd.DataFrame:
    """Make reviews, one in four of which is bad."""
    bad = [number % 4 == 0 for number in range(rows)]
    texts = [f"a {'bad' if is_bad else 'good'} film {'indeed ' * (n % 3)}" for n, is_bad in enumerate(bad)]
    return pd.DataFrame({"text": texts, "label": ["bad" if is_bad else "good" for is_bad in bad]})


def fit(request: FitRequest) -> tuple[FitResult, list[tuple[int, dict[str, float]]]]:
    """Train and keep the reports."""
    reports: list[tuple[int, dict[str, float]]] = []

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        reports.append((epoch, dict(metrics)))

    return load_trainer("transformers").fit(request, report), reports


def train_of(backbone: str, **more: object) -> dict[str, object]:
    """Make `train.yaml` for the CPU."""
    return {"trainer": "transformers", "backbone": backbone, "device": "cpu", **more}


def test_tagging_learns_reports_and_saves(
    make_request: MakeRequest, tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each epoch is reported, the result is the last one's, the saved model loads, and nothing is printed."""
    request = make_request(
        task="token_classification",
        train=train_of(tiny, metrics=["span_recall"]),
        frames={"train": sentences(96), "valid": sentences(12), "test": sentences(8)},
        metric="span_f1",
        params={"num_train_epochs": 3, "learning_rate": 1e-2, "per_device_train_batch_size": 8},
        data=SPANS,
        model_dir=tmp_path / "model",
    )
    result, reports = fit(request)
    assert [epoch for epoch, _ in reports] == [1, 2, 3]
    assert result.valid == reports[-1][1]
    assert result.valid["span_f1"] > 0.9
    assert result.test["span_recall"] > 0.9
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    described = json.loads((tmp_path / "model" / "assay_model.json").read_text())
    assert described == {
        "trainer": "transformers",
        "task": "token_classification",
        "labels": ["O", "B-place", "I-place"],
        "max_length": 128,
    }
    assert model.config.id2label == {0: "O", 1: "B-place", 2: "I-place"}
    assert (tmp_path / "model" / "model.safetensors").is_file()
    out, err = capfd.readouterr()
    assert "newly initialized" not in err
    assert "train_runtime" not in out


def test_same_request_same_result(make_request: MakeRequest, tiny: str) -> None:
    """The seed decides every digit of the result."""

    def run(seed: int) -> list[tuple[int, dict[str, float]]]:
        request = make_request(
            task="text_classification",
            train=train_of(tiny),
            frames={"train": reviews(40), "valid": reviews(12)},
            metric="log_loss",
            direction="minimize",
            params={"num_train_epochs": 2, "learning_rate": 1e-3, "precision": "fp32"},
            seed=seed,
        )
        return fit(request)[1]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": "balanced"},
        {"label_smoothing_factor": 0.2},
        {"class_weights": "balanced", "label_smoothing_factor": 0.2},
        {"dropout": 0.5},
        {"warmup_ratio": 1.0},
        {"gradient_accumulation_steps": 2},
        {"precision": "bf16"},
        {"optim": "adafactor"},
        {"lr_scheduler_type": "cosine"},
    ],
)
def test_every_setting_changes_the_result(make_request: MakeRequest, tiny: str, change: dict[str, object]) -> None:
    """No hyperparameter is silently ignored."""

    def run(more: dict[str, object]) -> float:
        request = make_request(
            task="text_classification",
            train=train_of(tiny),
            frames={"train": reviews(40), "valid": reviews(12)},
            metric="log_loss",
            direction="minimize",
            params={"num_train_epochs": 1, "learning_rate": 1e-3, "per_device_train_batch_size": 8, **more},
        )
        return fit(request)[0].valid["log_loss"]

    changed = run(change)
    assert np.isfinite(changed)
    assert changed != run({})


def test_early_stopping_keeps_the_best_epoch(make_request: MakeRequest, tiny: str, tmp_path: Path) -> None:
    """Training stops when patience is over, and the best epoch's weights are evaluated and saved."""
    valid = reviews(12)
    valid["label"] = ["good" if label == "bad" else "bad" for label in valid["label"]]  # learning makes it worse
    request = make_request(
        task="text_classification",
        train=train_of(tiny),
        frames={"train": reviews(80), "valid": valid, "test": valid},
        metric="log_loss",
        direction="minimize",
        params={
            "num_train_epochs": 20,
            "learning_rate": 1e-2,
            "early_stopping_patience": 2,
            "per_device_train_batch_size": 8,
        },
        model_dir=tmp_path / "model",
    )
    result, reports = fit(request)
    losses = [metrics["log_loss"] for _, metrics in reports]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 20
    assert result.valid["log_loss"] == min(losses)
    assert result.test["log_loss"] == pytest.approx(min(losses))


def test_early_stopping_without_validation_rows_runs_to_the_end(make_request: MakeRequest, tiny: str) -> None:
    """A refit has nothing to stop by and nothing to report."""
    request = make_request(
        task="text_classification",
        train=train_of(tiny),
        frames={"train": reviews(20)},
        metric="accuracy",
        params={"num_train_epochs": 1, "early_stopping_patience": 1},
    )
    assert fit(request) == (FitResult(), [])


def test_exception_of_the_report_passes(make_request: MakeRequest, tiny: str) -> None:
    """A trial that is pruned stops at once."""
    request = make_request(
        task="text_classification",
        train=train_of(tiny),
        frames={"train": reviews(20), "valid": reviews(8)},
        metric="accuracy",
        params={"num_train_epochs": 50},
    )

    def prune(epoch: int, metrics: Mapping[str, float]) -> None:
        raise InterruptedError(epoch)

    with pytest.raises(InterruptedError, match="1"):
        load_trainer("transformers").fit(request, prune)


@pytest.mark.parametrize("length", [8, 13, 32, 128])
def test_windows_decide_every_token_once(length: int) -> None:
    """However long a text is, its tokens are each decided by one window, and gold tags give back all gold spans."""
    text = " ".join(f"word{number} paris" for number in range(60))
    starts = [at for at in range(len(text)) if text.startswith("paris", at)]
    spans = [(at, at + 5, "place") for at in starts]
    frame = pd.DataFrame({"text": [text, "", "paris"], "spans": [spans, [], [(0, 5, "place")]]})
    data = DataConfig(task="token_classification", path="data", spans_column="spans")
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone(MINILM))
    head = TokenHead(frame, data, tokenizer, length)
    windows = head.windows(frame)
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert [offset for window in windows if window.row == 0 for offset in window.offsets] == whole
    assert all(len(window.input_ids) <= length for window in windows)
    features = iter(head.training_features(frame))
    outputs = []
    for window in windows:
        labels = next(features)["labels"] if window.positions else []
        assert isinstance(labels, list)
        assert [at for at, label in enumerate(labels) if label != IGNORED] == window.positions
        outputs.append(np.array([labels[at] for at in window.positions], dtype=int))
    values = head.evaluate(frame, windows, outputs, ["span_precision", "span_recall"])
    assert values == {"span_precision": 1.0, "span_recall": 1.0}
    silent = [output * (window.row == 2) for output, window in zip(outputs, windows, strict=True)]
    assert head.evaluate(frame, windows, silent, ["span_recall"])["span_recall"] == pytest.approx(1 / 61)


def test_balanced_weights() -> None:
    """A class weighs the inverse of its share, padding doesn't count, and a class that isn't there weighs 1."""
    features: list[dict[str, list[int] | int]] = [{"labels": [0, 0, 0, IGNORED]}, {"labels": [1]}]
    assert balanced_weights(features, 3).tolist() == pytest.approx([4 / 6, 4 / 2, 1.0])


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"learning_rate": -1.0}, "params.learning_rate: .*greater than 0, got -1.0"),
        ({"lerning_rate": 1.0}, "params.lerning_rate"),
        ({"max_length": 4096}, "reads at most 128 tokens"),
        ({"precision": "fp16"}, "needs a GPU"),
    ],
)
def test_bad_params_are_refused(make_request: MakeRequest, tiny: str, params: dict[str, object], expected: str) -> None:
    """A hyperparameter that can't be used is named with what is allowed."""
    request = make_request(
        task="text_classification",
        train=train_of(tiny),
        frames={"train": reviews(8)},
        metric="accuracy",
        params=params,
    )
    with pytest.raises(ConfigError, match=expected):
        fit(request)


def test_rows_and_backbones_that_can_not_be_used_are_refused(make_request: MakeRequest, tiny: str) -> None:
    """One label, no spans, another task or an empty folder are errors of one line."""
    one = reviews(8).assign(label="good")
    request = make_request(task="text_classification", train=train_of(tiny), frames={"train": one}, metric="accuracy")
    with pytest.raises(DataError, match="only the label 'good'"):
        fit(request)
    none = sentences(4)
    none["spans"] = pd.Series([[], [], [], []], dtype=object)
    request = make_request(
        task="token_classification", train=train_of(tiny), frames={"train": none}, metric="span_f1", data=SPANS
    )
    with pytest.raises(DataError, match="no spans at all"):
        fit(request)
    request = make_request(task="regression", train=train_of(tiny), frames={"train": one}, metric="r2")
    with pytest.raises(ConfigError, match="can't do task regression"):
        fit(request)
    folder = str(Path(tiny).parent)
    request = make_request(task="text_classification", train=train_of(folder), frames={"train": one}, metric="accuracy")
    with pytest.raises(ConfigError, match="can't be loaded"):
        fit(request)


@pytest.mark.skipif(not WNUT.is_dir(), reason="WNUT-17 is not at ../shared/data/wnut17")
def test_real_backbone_on_real_tweets(make_request: MakeRequest) -> None:
    """MiniLM learns on a few tweets, twice to the same result."""
    data = DataConfig(
        task="token_classification",
        path="../shared/data/wnut17",
        spans_column="annotations",
        max_samples=MaxSamples(train=48, validation=24),
    )
    dataset = load_dataset(data, ROOT)
    assert dataset.train is not None
    assert dataset.validation is not None
    request = make_request(
        task="token_classification",
        train=train_of(MINILM, metrics=["span_precision"]),
        frames={"train": dataset.train, "valid": dataset.validation},
        metric="span_recall",
        params={"num_train_epochs": 1, "learning_rate": 1e-3, "per_device_train_batch_size": 8, "max_length": 64},
        data={"spans_column": "annotations"},
    )
    first, second = fit(request), fit(request)
    assert first == second
    assert set(first[0].valid) == {"span_recall", "span_precision"}
