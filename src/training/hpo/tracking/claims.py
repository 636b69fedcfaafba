"""One driver at a time for a study in a tracking server: claims as tags of the study's run, by the server's clock.

A driver writes its claim, then reads all. It withdraws if it sees an owner or a candidate with a smaller name, waits
for candidates with larger names, and becomes the owner when it is alone. Of two that write and then read, at least one
sees the other, so no two become owners. A claim that isn't renewed lapses. Source: the bakery of Lamport 1974, with
names in place of numbers.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infrastructure.errors import StudyHeldError, TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.session import current_session, store_time

LASTS: Final = 60
"""Seconds of the server's clock after which a claim that isn't renewed lapses."""
PAUSE: Final = 0.3


class Claim(BaseModel):
    """What a driver says of itself; `renewed` in seconds since 1970 by the server's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["candidate", "owner"]
    host: str
    pid: int
    renewed: float


class StudyClaim:
    """This process's claim on a study, held until it is released. Raises StudyHeldError if another process has it.

    `run_id` is the study's run that this process would go on with; the study may have several, if two drivers created
    it at the same time. It is renewed from `keep` on.
    """

    def __init__(self, study: tuple[str, int], run_id: str) -> None:
        self._study = study
        self._run_id = run_id
        self._name = uuid.uuid4().hex[:12]
        self._released = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._become_owner()
        except BaseException:
            self.release()
            raise

    def keep(self, on_lost: Callable[[StudyHeldError], None]) -> None:
        """Renew the claim in a thread, which calls `on_lost` if it had lapsed and somebody else has the study."""
        self._thread = threading.Thread(target=self._renew, args=(on_lost,), name="claim", daemon=True)
        self._thread.start()

    def _become_owner(self) -> None:
        self._write("candidate")
        while True:
            others, lapsed = self._others()
            rivals = [c for name, c in others.items() if c.state == "owner" or name < self._name]
            if rivals:
                raise _held(rivals[0])
            if not others:
                self._write("owner")
                for run_id, tag in lapsed:  # of drivers that died
                    runs.delete_tag(run_id, tag)
                return
            time.sleep(PAUSE)

    def _write(self, state: Literal["candidate", "owner"]) -> None:
        claim = Claim(state=state, host=socket.gethostname(), pid=os.getpid(), renewed=store_time())
        runs.set_tag(self._run_id, f"{tags.CLAIM}.{self._name}", claim.model_dump_json())

    def _others(self) -> tuple[dict[str, Claim], list[tuple[str, str]]]:
        """Return the claims of others that haven't lapsed, by their names, and the runs and tags of those that have."""
        key, variant = self._study
        now = store_time()
        found: dict[str, Claim] = {}
        lapsed: list[tuple[str, str]] = []
        for run in queries.find_runs({tags.STUDY_KEY: key, tags.STAGE: tags.STAGE_SWEEP}):
            for tag, text in run.tags.items():
                name = tag.removeprefix(f"{tags.CLAIM}.")
                if run.variant != variant or name in (tag, self._name):
                    continue
                with suppress(ValidationError):
                    claim = Claim.model_validate_json(text)
                    if now - claim.renewed < LASTS and not _is_dead(claim):
                        found[name] = claim
                    else:
                        lapsed.append((run.run_id, tag))
        return found, lapsed

    def _renew(self, on_lost: Callable[[StudyHeldError], None]) -> None:
        while not self._released.wait(LASTS / 4):
            try:
                with current_session().client.hurried(0):
                    owners = [claim for claim in self._others()[0].values() if claim.state == "owner"]
                    if owners:
                        on_lost(_held(owners[0]))
                        return
                    self._write("owner")
            except TrackingError:
                continue  # the store is away; if nobody takes the study in the meantime, it is still ours

    def release(self) -> None:
        """Let others have the study."""
        self._released.set()
        runs.within(runs.LAST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._thread is not None:
            self._thread.join()
        runs.delete_tag(self._run_id, f"{tags.CLAIM}.{self._name}")


def claim_if_served(study: tuple[str, int], run_id: str) -> StudyClaim | None:
    """Return a claim on a study that is in a tracking server, or None: a local store has locks of its own."""
    return StudyClaim(study, run_id) if current_session().address else None


def is_claimed(run_id: str) -> bool:
    """Tell whether a study's run carries anybody's claim."""
    return any(tag.startswith(f"{tags.CLAIM}.") for tag in queries.get_run(run_id).tags)


def _is_dead(claim: Claim) -> bool:
    """Tell whether a claim is of this machine and its process is gone, or is this one, which has given it up."""
    if claim.host != socket.gethostname():
        return False
    try:
        os.kill(claim.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return claim.pid == os.getpid()


def _held(claim: Claim) -> StudyHeldError:
    return StudyHeldError(
        f"the study is being worked on by process {claim.pid} on {claim.host}; wait for it, or end it; "
        f"if it is dead already, its claim lapses within {LASTS} s"
    )
