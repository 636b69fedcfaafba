"""Choices and scores against cases that were computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from infrastructure.config.schema.hpo import Selection
from training.hpo.records import TrialRecord
from training.hpo.selection import candidates, choose, stable_score


def trials(values: Sequence[float | None], **changes: object) -> list[TrialRecord]:
    """Return trials by number with these values; one without a value was pruned."""
    return [
        TrialRecord(
            number=number,
            trial_key_hash=f"key {number}",
            params={},
            state="pruned" if value is None else "complete",
            value=value,
        ).model_copy(update=changes)
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "direction", "threshold", "numbers"),
    [
        # 1 % of 0.90 is 0.009: 0.891 is just within it, 0.8909 isn't.
        ([0.891, 0.90, 0.8909, 0.895], "maximize", 0.01, [1, 3, 0]),
        # 10 % of 2.0 is 0.2, from 2.0 up to 2.2.
        ([2.3, 2.2, 2.0, None, 2.1], "minimize", 0.1, [2, 4, 1]),
        # 10 % of -2.0 is 0.2 as well: a value below zero is worse when it is smaller.
        ([-2.3, -2.2, -2.0], "maximize", 0.1, [2, 1]),
        # No share of zero reaches anything but zero.
        ([0.0, 1e-12, 0.0], "minimize", 0.9, [0, 2]),
        # Without a margin, equals alone, the first of them first.
        ([0.5, 0.7, 0.7], "maximize", 0.0, [1, 2]),
        # No more than max_candidates, which are three.
        ([0.7, 0.7, 0.7, 0.7], "maximize", 0.5, [0, 1, 2]),
        ([None, None], "maximize", 0.5, []),
    ],
)
def test_candidates(values: list[float | None], direction: str, threshold: float, numbers: list[int]) -> None:
    """Candidates are within the share of the best value, the best first."""
    found = candidates(trials(values), direction, Selection(accuracy_threshold=threshold))
    assert [trial.number for trial in found] == numbers


def test_each_configuration_is_one_candidate() -> None:
    """A trial that another one answered is no candidate beside it, nor one that comes from elsewhere."""
    own = trials([0.9, 0.9, 0.9])
    answered = own[1].model_copy(update={"trial_key_hash": own[0].trial_key_hash, "answered_by": 0})
    elsewhere = own[2].model_copy(update={"imported_from": "theirs/2"})
    found = candidates([own[0], answered, elsewhere], "maximize", Selection())
    assert found == [own[0]]
    assert choose(found, {}, Selection()).reason == "trial 0: no other is within 1 % of its value"


@pytest.mark.parametrize(
    ("seconds", "min_gain", "chosen"),
    [
        ([10.0, 5.0, 9.0], 0.1, 1),  # twice as fast
        ([10.0, 9.5, 9.4], 0.1, 0),  # 1.05 and 1.06 times as fast are no gains
        ([11.0, 10.0, 99.0], 0.1, 1),  # exactly the gain that is asked for
        ([10.0, 9.5, 9.0], 0.1, 2),  # 1.11 times as fast as the best, which is still the one to beat
        ([10.0, 8.0, 7.5], 0.1, 1),  # 7.5 is no gain over 8.0, which has the better value
        ([10.0, 8.0, 7.0], 0.1, 2),  # 7.0 is, 1.14 times as fast as 8.0
        ([5.0, 10.0, 10.0], 0.0, 0),
        ([10.0, 10.0, 10.0], 0.0, 2),  # without a gain asked for, equals are as good
    ],
)
def test_choice(seconds: list[float], min_gain: float, chosen: int) -> None:
    """From the best on, each candidate replaces the one chosen before it if it is faster by the gain."""
    found = trials([0.90, 0.899, 0.898])
    selection = Selection(min_gain=min_gain)
    known = {trial.trial_key_hash: value for trial, value in zip(found, seconds, strict=True)}
    choice = choose(found, known, selection)
    assert choice.chosen == found[chosen]
    assert [row.seconds for row in choice.candidates] == seconds


def test_the_reason_is_told() -> None:
    """A choice names what is lost and what is gained; so does one that keeps the best, and one that can't be made."""
    found = trials([0.90, 0.8964])
    known = {"key 0": 0.0021, "key 1": 0.001}
    assert choose(found, known, Selection(accuracy_threshold=0.005)).reason == (
        "trial 1: it is 0.4 % worse than the best, trial 0, and 2.10 × as fast (1 ms an example, not 2.1 ms)"
    )
    assert choose(found, known, Selection(min_gain=2)).reason == (
        "trial 0: it has the best value, and none within 1 % of the best value is faster by 200 % "
        "(trial 1 is 2.10 × as fast)"
    )
    missing = choose(found, {"key 0": 0.0021}, Selection())
    assert missing.chosen is None
    assert missing.reason == (
        "trials 0, 1 are within 1 % of the best value, and the latency of 1 isn't measured on this machine yet: "
        "run `assay refit`"
    )


def test_without_a_selection_the_best_is_chosen() -> None:
    """Nothing is measured and nobody else is a candidate."""
    found = trials([0.5, 0.9, 0.9])
    assert candidates(found, "maximize", None) == [found[1]]
    assert choose([found[1]], {}, None).chosen == found[1]
    assert choose([], {}, None).chosen is None


@pytest.mark.parametrize(
    ("values", "direction", "top", "score"),
    [
        # One lucky trial is far ahead of the rest, which the second study beats.
        ([0.60, 0.99, 0.70, 0.10], "maximize", 3, 0.70),
        ([0.78, 0.80, 0.79], "maximize", 3, 0.79),
        ([3.0, 1.0, 2.0, 9.0], "minimize", 3, 2.0),
        ([3.0, 1.0, 2.0, 9.0], "minimize", 4, 2.5),  # the median of four is the mean of the two in the middle
        ([3.0, 1.0], "minimize", 1, 1.0),
        ([3.0, None, 1.0], "minimize", 3, None),  # pruned trials don't count
    ],
)
def test_stable_score(values: list[float | None], direction: str, top: int, score: float | None) -> None:
    """A study's score is the median of its best trials; with fewer it has none."""
    assert stable_score(trials(values), direction, top) == score


def test_one_lucky_configuration_counts_once() -> None:
    """Trials of one configuration, or from elsewhere, don't fill the top."""
    assert stable_score(trials([0.9, 0.9, 0.9], trial_key_hash="one"), "maximize", 3) is None
    assert stable_score(trials([0.9, 0.9, 0.9], imported_from="theirs/1"), "maximize", 3) is None
