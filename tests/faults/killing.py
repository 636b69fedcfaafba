"""A study that is left alone, and copies of it that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.conftest import MakeProject
from tests.faults.drivers import Drivers, kill_of, make_slow_study, make_study, seeded, units_of
from tests.faults.invariant import Kill, violations
from tests.faults.launcher import Attempt, Ending
from tests.faults.observation import noted_calls

OPENING = 150
"""At least so many boundaries are passed when a study is taken up again."""


@dataclass
class Tally:
    """How many kills there were, of which kind, and what was wrong after which."""

    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Killed:
    """A study that was left alone, and copies of it that are killed at boundaries, in one process each.

    With `from_nothing` there is no store to begin with.
    """

    def __init__(self, make_project: MakeProject, drivers: Drivers, *, from_nothing: bool = False) -> None:
        self._make_project = make_project
        self._drivers = drivers
        self._from_nothing = from_nothing
        config_dir = self._copy("alone")
        ending = drivers.drive(Attempt(config_dir=str(config_dir)))
        assert ending.code == 0, ending.at
        self.boundaries = ending.count
        self.alone = drivers.look(config_dir)
        self._units = units_of(self.alone)

    def _copy(self, name: str) -> Path:
        config_dir = make_study(self._make_project, f"{name}-from-nothing" if self._from_nothing else name)
        if self._from_nothing:
            (config_dir.parent / "mlflow.db").unlink()
        return config_dir

    def kill_at(self, boundary: int, tally: Tally, *, again: bool) -> None:
        """Kill a copy before a boundary, perhaps a second time while it recovers, let it finish, and look at it."""
        config_dir = self._copy(f"killed-{boundary}")
        first = self._drivers.drive(Attempt(config_dir=str(config_dir), deadly=boundary))
        if first.code == 0:  # threads take turns as they like, so a study may have some boundaries less
            tally.kills["not reached"] += 1
            return
        kills, told = [kill_of(config_dir)], f"killed before {boundary}, {first.at}"
        tally.kills["first"] += 1
        if again:
            deadly = seeded("again", boundary).randrange(1, max(self.boundaries - boundary, 0) + OPENING)
            second = self._drivers.drive(Attempt(config_dir=str(config_dir), deadly=deadly))
            told += f", and then before {deadly}, {second.at}"
            if second.code:
                kills.append(kill_of(config_dir))
                tally.kills["in recovery"] += 1
        last = self._drivers.drive(Attempt(config_dir=str(config_dir)))
        found = [f"the command fails with {last.at}"] if last.code else self._violations(config_dir, kills)
        tally.wrong += [f"{told}: {violation}" for violation in found]
        shutil.rmtree(config_dir.parent)

    def first_wrong(self, bug: str, boundaries: Iterable[int], among: str = "") -> list[str]:
        """Kill copies that have a bug, until one of them isn't what it was to be, and return what is wrong with it."""
        for boundary in boundaries:
            config_dir = self._copy(f"{bug}-{boundary}")
            planted = Attempt(config_dir=str(config_dir), bug=bug)
            self._drivers.drive(planted.model_copy(update={"deadly": boundary, "among": among}))
            kills = [kill_of(config_dir)]
            assert self._drivers.drive(planted).code == 0
            if found := self._violations(config_dir, kills):
                return found
        return []

    def start_two(self, bug: str) -> tuple[list[Ending], list[str]]:
        """Start two drivers on a copy at the same time; return how they end, and what is wrong with the study."""
        config_dir = self._copy(bug)
        both = [self._drivers.start(Attempt(config_dir=str(config_dir), bug=bug)) for _ in range(2)]
        endings = sorted((self._drivers.wait(pid) for pid in both), key=lambda ending: ending.code)
        return endings, self._violations(config_dir, [])

    def _violations(self, config_dir: Path, kills: list[Kill]) -> list[str]:
        return violations(self._drivers.look(config_dir), self.alone, kills, self._units)


class StartedOver:
    """A study that was done and then started over with `--force`, and copies that are killed as they start over."""

    def __init__(self, make_project: MakeProject, drivers: Drivers) -> None:
        self._make_project = make_project
        self._drivers = drivers
        config_dir = self._done("alone-over")
        ending = drivers.drive(Attempt(config_dir=str(config_dir), force=True))
        assert ending.code == 0, ending.at
        self.boundaries = ending.count
        self._alone = drivers.look(config_dir)

    def _done(self, name: str) -> Path:
        config_dir = make_study(self._make_project, name)
        assert self._drivers.drive(Attempt(config_dir=str(config_dir))).code == 0
        return config_dir

    def kill_at(self, boundary: int, tally: Tally) -> None:
        """Kill a copy as it starts over and give the command again, with `--force` if the new study isn't there yet."""
        config_dir = self._done(f"over-{boundary}")
        first = self._drivers.drive(Attempt(config_dir=str(config_dir), force=True, deadly=boundary))
        tally.kills["first" if first.code else "not reached"] += 1
        # What the old study did says nothing of the new one, which does the same again.
        kills = [kill_of(config_dir).without_files()]
        is_begun = any(run.tags.get("code.variant") == "2" for run in self._drivers.look(config_dir).runs)
        last = self._drivers.drive(Attempt(config_dir=str(config_dir), force=not is_begun))
        seen = self._drivers.look(config_dir)
        found = [f"the command fails with {last.at}"] if last.code else violations(seen, self._alone, kills, {})
        tally.wrong += [f"killed before {boundary}, {first.at}: {violation}" for violation in found]
        shutil.rmtree(config_dir.parent)


class RandomlyKilled:
    """A study whose trainings take a moment and run in processes, left alone, and copies of it that are killed."""

    def __init__(self, make_project: MakeProject, drivers: Drivers, workers: int) -> None:
        self._make_project = make_project
        self._drivers = drivers
        self._workers = workers
        in_order, alone = (make_slow_study(make_project, f"{name}-{workers}", workers) for name in ("order", "alone"))
        assert drivers.drive(Attempt(config_dir=str(in_order))).code == 0
        self._units = units_of(drivers.look(in_order))
        assert drivers.drive(Attempt(config_dir=str(alone), is_inline=False)).code == 0
        self._alone = drivers.look(alone)

    def kill_often(self, number: int, count: int, tally: Tally) -> None:
        """Kill a copy so many times, by a seed, then let it finish and look at it."""
        rng = seeded("random", number)
        config_dir = make_slow_study(self._make_project, f"killed-{number}", self._workers)
        loses_files = rng.random() < 0.3
        kills: list[Kill] = []
        while len(kills) < count:
            how = self._kill(config_dir, rng)
            tally.kills[how] += 1
            if how == "came too late":
                continue
            kills.append(kill_of(config_dir))
            if loses_files and rng.random() < 0.3:
                shutil.rmtree(config_dir.parent / "outputs", ignore_errors=True)
                kills = [*(kill.without_files() for kill in kills[:-1]), kill_of(config_dir)]
                tally.kills["output folder deleted"] += 1
        last = self._drivers.drive(Attempt(config_dir=str(config_dir), is_inline=False))
        found = [f"the command fails with {last.at}"] if last.code else self._violations(config_dir, kills, loses_files)
        tally.wrong += [f"study {number}: {violation}" for violation in found]
        shutil.rmtree(config_dir.parent)

    def _kill(self, config_dir: Path, rng: Random) -> str:
        """Kill a driver at a boundary or after some trainings, with its workers or without them; return how."""
        how = rng.choice(("at a boundary", "with its workers", "without its workers"))
        deadly = rng.randrange(1, 800) if how == "at a boundary" else 0
        pid = self._drivers.start(Attempt(config_dir=str(config_dir), is_inline=False, deadly=deadly))
        if not deadly:
            self._await_trainings(config_dir, pid, rng.choice((0, 1, 1, 2)), rng.uniform(0, 0.5))
            (os.killpg if how == "with its workers" else os.kill)(pid, signal.SIGKILL)
        ending = self._drivers.wait(pid)
        assert ending.code in {0, -signal.SIGKILL}, ending.at
        if how == "without its workers":
            time.sleep(0.1)  # they end at their next report
        return how if ending.code else "came too late"

    def _await_trainings(self, config_dir: Path, pid: int, count: int, seconds: float) -> None:
        """Wait until a driver has begun so many trainings and then some time, or has ended."""
        wanted = len(noted_calls(config_dir)) + count
        while len(noted_calls(config_dir)) < wanted and not self._drivers.has_ended(pid):
            time.sleep(0.005)
        time.sleep(seconds)

    def _violations(self, config_dir: Path, kills: list[Kill], loses_files: bool) -> list[str]:
        seen = self._drivers.look(config_dir)
        keeps = not loses_files
        return violations(seen, self._alone, kills, self._units, workers=self._workers, folder_kept=keeps)
