"""Drivers that are killed wherever they may be, against the same study left alone.

`make chaos` tries every boundary (`KILL_EVERY=1`) and 500 random kills (`RANDOM_KILLS=500`), `make test` some of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import MakeProject, project_maker
from tests.faults.drivers import Drivers, driving
from tests.faults.killing import Killed, RandomlyKilled, StartedOver, Tally

KILL_EVERY = int(os.environ.get("KILL_EVERY", "45"))
PARTS = 12 if KILL_EVERY == 1 else 1
RANDOM_KILLS = int(os.environ.get("RANDOM_KILLS", "12"))
KILLS_EACH, RANDOM_PARTS = (10, 10) if RANDOM_KILLS >= 100 else (6, 2)


@pytest.fixture(scope="module")
def make_study_project(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> MakeProject:
    """Return what makes projects that last as long as the drivers."""
    return project_maker(tmp_path_factory.mktemp("kills"), empty_store)


@pytest.fixture(scope="module")
def drivers(make_study_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """Yield what starts drivers."""
    with driving(make_study_project, tmp_path_factory.mktemp("log") / "drivers.log") as started:
        yield started


@pytest.fixture(scope="module")
def study(make_study_project: MakeProject, drivers: Drivers) -> Killed:
    """Return a study that was left alone, and what kills copies of it."""
    return Killed(make_study_project, drivers)


@pytest.fixture(scope="module")
def random_study(make_study_project: MakeProject, drivers: Drivers) -> Callable[[int], RandomlyKilled]:
    """Return what gives, for a number of workers, a study that was left alone, and what kills copies of it."""
    return cache(lambda workers: RandomlyKilled(make_study_project, drivers, workers))


@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_at_any_boundary_changes_nothing(study: Killed, part: int) -> None:
    """Whatever SQL statement or file operation comes last, once or twice: one rerun makes the study what it was."""
    assert {trial.state for trial in study.alone.trials} == {"complete", "pruned", "failed"}
    assert study.boundaries > 1_000
    begun, tally = time.monotonic(), Tally()
    chosen = range(1 + part * KILL_EVERY, study.boundaries + 1, KILL_EVERY * PARTS)
    for index, boundary in enumerate(chosen):
        study.kill_at(boundary, tally, again=index % 3 == 2)
    print(f"{len(chosen)} of {study.boundaries} boundaries in {time.monotonic() - begun:.0f} s: {tally}")
    assert tally.wrong == []


def test_a_kill_while_the_store_is_made_changes_nothing(make_study_project: MakeProject, drivers: Drivers) -> None:
    """The first start, which makes the store's tables, is killed too: no half a store is ever taken for one."""
    study, tally = Killed(make_study_project, drivers, from_nothing=True), Tally()
    begun = time.monotonic()
    making = study.boundaries - 1_200
    assert making > 300
    step = making // 2 if KILL_EVERY > 1 else making // 30
    chosen = range(step // 2, making, step)
    for index, boundary in enumerate(chosen):
        study.kill_at(boundary, tally, again=index % 3 == 2)
    print(f"{len(chosen)} of {making} boundaries in {time.monotonic() - begun:.0f} s: {tally}")
    assert tally.wrong == []


def test_a_kill_while_starting_over_changes_nothing(make_study_project: MakeProject, drivers: Drivers) -> None:
    """A study that is started over with `--force` and killed is gone on with as the new one; the old one stays."""
    study, tally = StartedOver(make_study_project, drivers), Tally()
    begun = time.monotonic()
    chosen = range(60, study.boundaries, study.boundaries // (3 if KILL_EVERY > 1 else 40))
    for boundary in chosen:
        study.kill_at(boundary, tally)
    print(f"{len(chosen)} of {study.boundaries} boundaries in {time.monotonic() - begun:.0f} s: {tally}")
    assert tally.wrong == []


@pytest.mark.parametrize("part", range(RANDOM_PARTS))
def test_random_kills_change_nothing(random_study: Callable[[int], RandomlyKilled], part: int) -> None:
    """Studies of one or two workers, killed many times each at random, some robbed of their files: as if left alone."""
    begun, tally = time.monotonic(), Tally()
    study = random_study(1 + part % 2)
    studies = range(part, RANDOM_KILLS // KILLS_EACH, RANDOM_PARTS)
    for number in studies:
        study.kill_often(number, KILLS_EACH, tally)
    print(f"{len(studies)} studies in {time.monotonic() - begun:.0f} s: {tally}")
    assert tally.wrong == []


def test_without_the_lock_it_would_be_noticed(study: Killed) -> None:
    """Two drivers at once: with the lock one is told and nothing is doubled, with the planted bug it is."""
    (done, told), wrong = study.start_two("meet")
    assert (done.code, told.code, wrong) == (0, 1, [])
    assert "is being worked on by process" in told.at
    _, wrong = study.start_two("no_lock")
    assert any(" too many: " in text for text in wrong), wrong


@pytest.mark.parametrize(
    ("bug", "among", "boundaries", "wrong"),
    [
        ("done_first", "", range(-300, 0, 6), "hpo_"),
        ("no_adoption", ".position", range(7, 30), "run too many: hpo_"),
        ("no_replay", "", range(350, 1_000, 25), "was trained again after it was done"),
    ],
)
def test_without_its_care_it_would_be_noticed(
    study: Killed, bug: str, among: str, boundaries: range, wrong: str
) -> None:
    """The planted bugs: done isn't written last, a run isn't looked for by its writer, the journal isn't sent again.

    Boundaries below 0 are counted from the end, where the refit is written in steps; a sweep's runs are written whole.
    """
    found = study.first_wrong(bug, (boundary % study.boundaries for boundary in boundaries), among)
    assert any(wrong in text for text in found), found
