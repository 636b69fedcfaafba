"""The one thing that every fault has to leave as it was: what a study comes to, and that nothing is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.observation import Observation


@dataclass(frozen=True)
class Kill:
    """What had been acknowledged when a driver died, and which trainings had been begun by then."""

    done: frozenset[str]
    begun: Counter[str] = field(default_factory=Counter)

    def without_files(self) -> Kill:
        """Return the kill with nothing acknowledged: what was, may have been lost with the output folder."""
        return Kill(frozenset(), self.begun)


def violations(
    seen: Observation,
    alone: Observation,
    kills: Sequence[Kill],
    units: Mapping[str, str],
    *,
    workers: int = 1,
    folder_kept: bool = True,
) -> list[str]:
    """Return what is wrong with a study that was killed and given again; `alone` is the same, left alone.

    - The store is whole, and opens.
    - No trial is lost: all records, and the best, are those of the study left alone.
    - There is one run for each identity, with the same content and status, done where that one is; none is RUNNING.
    - There is one registered version, of the refit, and it is the champion.
    - Nothing was trained again that had been acknowledged, and at most what `workers` had in hand at each kill; `units`
      says what a noted call was of.
    - Nothing is left over: the files are those of the study left alone. With the output folder deleted in between
      (`folder_kept` off) some of these may be gone.
    """
    return [
        *(f"the store is damaged: {fault}" for fault in seen.faults),
        *_differences("trial", [t.model_dump_json() for t in seen.trials], [t.model_dump_json() for t in alone.trials]),
        *([] if seen.best == alone.best else [f"the best trial is {seen.best}, not {alone.best}"]),
        *_runs(seen, alone),
        *_differences("registry", seen.versions, alone.versions),
        *_calls(seen, alone, kills, units),
        *([] if not folder_kept else _repeated(seen, alone, len(kills) * workers)),
        *_files(seen, alone, folder_kept=folder_kept),
    ]


def _differences(what: str, seen: list[str], alone: list[str]) -> Iterator[str]:
    yield from (f"{what} too many: {text}" for text in (Counter(seen) - Counter(alone)).elements())
    yield from (f"{what} missing: {text}" for text in (Counter(alone) - Counter(seen)).elements())


def _runs(seen: Observation, alone: Observation) -> Iterator[str]:
    yield from (f"{run.identity} is left RUNNING" for run in seen.runs if run.status == "RUNNING")
    yield from _differences("run", [run.identity for run in seen.runs], [run.identity for run in alone.runs])
    wanted = {run.identity: run for run in alone.runs}
    for run in seen.runs:
        if (expected := wanted.get(run.identity)) is None or expected == run:
            continue
        for name, value in expected:
            if (found := getattr(run, name)) != value:
                yield f"{run.identity}: {name} is {_shown(found, value)}"


def _shown(found: object, wanted: object) -> str:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return f"{found}, not {wanted}"
    keys = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    return "; ".join(f"{key}: {found.get(key)!r:.200}, not {wanted.get(key)!r:.200}" for key in keys)


def _calls(seen: Observation, alone: Observation, kills: Sequence[Kill], units: Mapping[str, str]) -> Iterator[str]:
    begun = Counter(seen.calls)
    for call, unit in units.items():
        if any(unit in kill.done and begun[call] > kill.begun[call] for kill in kills):
            yield f"{unit} was trained again after it was done"
    yield from (f"{call} was never to be trained" for call in begun.keys() - set(alone.calls))
    yield from (f"{call} was never trained" for call in set(alone.calls) - begun.keys())


def _repeated(seen: Observation, alone: Observation, cut: int) -> Iterator[str]:
    if len(seen.calls) > len(alone.calls) + cut:
        yield f"{len(seen.calls)} trainings, for {len(alone.calls)} of which {cut} may have been cut"


def _files(seen: Observation, alone: Observation, *, folder_kept: bool) -> Iterator[str]:
    yield from (f"left over: {name}" for name in sorted(set(seen.files) - set(alone.files)))
    if folder_kept:
        yield from (f"gone: {name}" for name in sorted(set(alone.files) - set(seen.files)))
