"""The search space."""

from __future__ import annotations

import pytest
from pydantic import JsonValue, ValidationError

from infrastructure.config.schema import HpoConfig
from infrastructure.errors import ConfigError
from training.hpo.search_space import check_params, grid

SPACE: dict[str, JsonValue] = {
    "optimizer": {"type": "choice", "values": ["sgd", "adam"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "layers": {"type": "int", "low": 2, "high": 8, "step": 2},
    "rate": {"type": "stepped", "low": 0.1, "high": 0.3, "step": 0.1},
    "fixed": {"type": "constant", "value": 5},
}


def space(values: dict[str, JsonValue]) -> HpoConfig:
    """Return a configuration with this search space."""
    objective = {"metric": "loss", "direction": "minimize"}
    return HpoConfig.model_validate({"study_name": "s", "objective": objective, "search_space": values})


GOOD: dict[str, JsonValue] = {"optimizer": "sgd", "momentum": 0.5, "layers": 4, "rate": 0.2, "fixed": 5}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"layers": 3}, "layers: 3 is outside"),
        ({"layers": 4.0}, "layers: 4.0 is outside"),
        ({"layers": True}, "layers: True is outside"),
        ({"rate": 0.25}, "rate: 0.25 is outside"),
        ({"momentum": 0.95}, "momentum: 0.95 is outside"),
        ({"optimizer": "adam"}, "momentum: exists only when {'optimizer': 'sgd'}"),
        ({"optimizer": "rmsprop"}, "optimizer: 'rmsprop' is outside"),
        ({"fixed": 6}, "fixed: 6 is outside"),
        ({"other": 1}, "other: not in the search space; it has optimizer, momentum"),
        ({"momentum": None}, "momentum: None is outside"),
    ],
)
def test_points_of_the_space(change: dict[str, JsonValue], problem: str | None) -> None:
    """A point inside has no problem; one outside is told which value it is and what the space has."""
    problems = check_params(space(SPACE).search_space, {**GOOD, **change})
    if problem is None:
        assert problems == []
    else:
        assert any(text.startswith(problem) for text in problems), problems


def test_missing_hyperparameter_is_named() -> None:
    """A hyperparameter that isn't given is named with what to write."""
    assert check_params(space({"x": SPACE["rate"]}).search_space, {}) == ["x: missing; give x=VALUE"]


def test_grid_has_every_value() -> None:
    """A grid lists every value of every parameter, and refuses a parameter with endlessly many."""
    finite = {name: value for name, value in SPACE.items() if name != "momentum"}
    values = grid(space(finite).search_space)
    assert values["layers"] == [2, 4, 6, 8]
    assert values["rate"] == pytest.approx([0.1, 0.2, 0.3])
    assert "fixed" not in values
    with pytest.raises(ConfigError, match=r"momentum: sampler grid needs a finite space"):
        grid(space(SPACE).search_space)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"x": {"type": "uniform", "low": 1.0, "high": 1.0}}, "low must be below high"),
        ({"x": {"type": "loguniform", "low": 0.0, "high": 1.0}}, "greater than 0"),
        ({"x": {"type": "choice", "values": [1, True]}}, "holds a value twice"),
        ({"x": {"type": "choice", "values": []}}, "at least 1 item"),
        ({"x": {"type": "int", "low": 1, "high": 3, "when": {"y": 1}}}, "not a choice of this search space"),
        (
            {"x": {"type": "int", "low": 1, "high": 3, "when": {"y": "c"}}, "y": {"type": "choice", "values": ["a"]}},
            "allowed: 'a'",
        ),
        (
            {
                "x": {"type": "choice", "values": ["a"], "when": {"y": "a"}},
                "y": {"type": "choice", "values": ["a"], "when": {"x": "a"}},
            },
            "when goes in a circle",
        ),
    ],
)
def test_faulty_spaces_are_refused(bad: dict[str, JsonValue], message: str) -> None:
    """Each fault of a search space is told by the rule it breaks."""
    with pytest.raises(ValidationError, match=message):
        space(bad)
