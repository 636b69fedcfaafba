"""Identity: which changes make another study, and which don't."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from infrastructure.errors import IdentityError
from infrastructure.naming.keys import (
    StudyIdentity,
    canonical_json,
    fold_key_hash,
    hash_document,
    refit_key_hash,
    study_identity,
    trial_key_hash,
)

HPO: dict[str, object] = {
    "study_name": "a",
    "objective": {"metric": "accuracy", "direction": "maximize"},
    "search_space": {"learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}},
}
TRAIN: dict[str, object] = {"trainer": "transformers", "backbone": "bert", "params": {"num_train_epochs": 2}}
DATA: dict[str, object] = {"task": "classification", "content_hash": "0123456789abcdef"}

GOLDEN_V2 = "c19c6957d7ee97def03399b400deab8df6697d10a197e073d9dfbdb33de0fce4"
GOLDEN_V1 = "dcb79d069052a9e04ffcd79878bf9d47d488bb0277dd3dc41ad4e4f5198b8d1c"
GOLDEN_TRIAL = "6d841f03fdd886d8a9188b2ee417bff588dcf0a0694b9ba9e3e5b938ffc1759f"
GOLDEN_FOLD = "5e783fab972a51b47f5d053098bf9c0ee98d77b31442f3449a69910e94618133"
GOLDEN_REFIT = "20526b7c0b816b7a5f50933bc293d657078cb7130fe989d98df0bbdd49c17092"


def identity(
    data: object = None, hpo: object = None, train: object = None, backbone: str = "bert", root: Path = Path()
) -> StudyIdentity:
    """Return the identity of the study above with some of its configurations replaced."""
    return study_identity(
        {**DATA, **(data or {})},  # type: ignore[dict-item]
        {**HPO, **(hpo or {})},  # type: ignore[dict-item]
        {**TRAIN, **(train or {})},  # type: ignore[dict-item]
        backbone,
        root,
    )


def test_golden_vectors() -> None:
    """These keys never change; another schema version is needed to change what they are computed from."""
    assert identity().study_key_hash == GOLDEN_V2
    assert study_identity(DATA, HPO, None, "bert", Path()).study_key_hash == GOLDEN_V1
    assert trial_key_hash(GOLDEN_V2, {"learning_rate": 0.1 + 0.2, "n": 3, "name": "é", "on": True}) == GOLDEN_TRIAL
    assert fold_key_hash(GOLDEN_TRIAL, 2) == GOLDEN_FOLD
    protocol: dict[str, JsonValue] = {"stage": "hpo_refit", "include_validation": False, "params": {}}
    assert refit_key_hash(GOLDEN_TRIAL, protocol) == GOLDEN_REFIT


@pytest.mark.parametrize(
    "change",
    [
        {"study_name": "another"},
        {"max_trials": 40},
        {"timeout": 3.5},
        {"workers": 8},
    ],
)
def test_how_work_is_done_is_not_identity(change: dict[str, object]) -> None:
    """Names and budgets of the sweep don't make another study."""
    assert identity(hpo=change) == identity()


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"content_hash": "fedcba9876543210"}),
        ("data", {"label_column": "y"}),
        ("hpo", {"seed": 1}),
        ("hpo", {"objective": {"metric": "f1_macro", "direction": "maximize"}}),
        ("hpo", {"sampler": {"type": "random"}}),
        ("hpo", {"pruner": {"type": "none"}}),
        ("hpo", {"cv": {"type": "kfold", "folds": 3}}),
        ("hpo", {"search_space": {"learning_rate": {"type": "loguniform", "low": 1e-5, "high": 2e-3}}}),
        ("hpo", {"unknown_field": 1}),
        ("train", {"params": {"num_train_epochs": 3}}),
        ("train", {"seed": 5}),
        ("train", {"batch": 5}),
    ],
)
def test_what_a_score_means_is_identity(section: str, change: dict[str, object]) -> None:
    """What changes the meaning of a score makes another study; an unknown field counts too."""
    assert identity(**{section: change}).study_key_hash != identity().study_key_hash  # type: ignore[arg-type]


def test_defaults_are_written_out() -> None:
    """A default that is spelled out is the same study."""
    assert identity(hpo={"seed": 0, "fold_pruner": {"type": "forgiving"}}) == identity()
    assert identity(train={"params": {"num_train_epochs": 2, "weight_decay": 0}}) == identity()


def test_family_leaves_out_the_backbone() -> None:
    """Two backbones have two studies of one family."""
    other = identity(backbone="roberta")
    assert other.study_key_hash != identity().study_key_hash
    assert other.study_family_hash == identity().study_family_hash


def test_v1_and_v2_are_never_the_same_study() -> None:
    """Without train_config the key is of another schema, even for an empty train_config."""
    v1 = study_identity(DATA, HPO, None, "bert", Path())
    v2 = study_identity(DATA, HPO, {}, "bert", Path())
    assert (v1.schema_version, v2.schema_version) == (1, 2)
    assert v1.study_key_hash != v2.study_key_hash


def test_data_counts_by_content_not_by_place(tmp_path: Path) -> None:
    """The same files elsewhere are the same data; another byte, or another name in a folder, isn't."""
    for name in ("a", "b/deeper"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "train.jsonl").write_text("x")
    keys = [identity(data={"content_hash": None, "path": name}, root=tmp_path) for name in ("a", "b/deeper")]
    assert keys[0] == keys[1]
    (tmp_path / "a" / "train.jsonl").write_text("y")
    assert identity(data={"content_hash": None, "path": "a"}, root=tmp_path) != keys[0]
    (tmp_path / "b/deeper/train.jsonl").rename(tmp_path / "b/deeper/test.jsonl")
    assert identity(data={"content_hash": None, "path": "b/deeper"}, root=tmp_path) != keys[0]


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    """A path without data names the path and what to check."""
    with pytest.raises(IdentityError, match=r"no data at .*check data\.path"):
        identity(data={"content_hash": None, "path": "nowhere"}, root=tmp_path)


def test_backbone_folder_counts_by_content(tmp_path: Path) -> None:
    """A backbone in a folder is known by its files, not by where they are."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"w")
    assert identity(backbone="./one", root=tmp_path) == identity(backbone=str(tmp_path / "two"))
    before = identity(backbone="one", root=tmp_path)
    assert before == identity(backbone="./one", root=tmp_path)
    (tmp_path / "one" / "weights").write_bytes(b"other")
    assert identity(backbone="one", root=tmp_path) != before


def test_types_of_values_differ() -> None:
    """1, true and "1" are different choices; 1 and 1.0 are the same number."""
    keys = [trial_key_hash("s", {"p": value}) for value in (1, True, "1", 1.0)]
    assert len(set(keys[:3])) == 3
    assert keys[0] == keys[3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**60])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    """NaN, infinities and integers beyond 2^53 have no canonical form."""
    with pytest.raises(IdentityError, match="no NaN, infinity or huge integer"):
        hash_document({"p": value})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**52), 2**52) | st.floats(-(2.0**52), 2.0**52) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=6), st.randoms())
def test_key_order_does_not_matter(document: dict[str, object], random: object) -> None:
    """A document with its keys in another order, or read back from JSON, has the same hash."""
    items = list(document.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert hash_document(dict(items)) == hash_document(document)
    assert hash_document(json.loads(canonical_json(document))) == hash_document(document)
