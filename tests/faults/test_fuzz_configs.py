"""Configurations that were typed by nobody: mutated by a seed, they are read or refused in one line each, at once.

`FUZZ` is how many are tried.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from infrastructure.config.loading import load_project_config
from infrastructure.errors import ConfigError
from tests.conftest import REPOSITORY
from training.hpo.execution.project import load_and_check

COUNT: Final = int(os.environ.get("FUZZ", "5000"))
CONFIGS: Final = REPOSITORY / "src" / "training" / "cli" / "templates" / "resume-ner" / "config"
HOSTILE: Final = (
    *("&a [*a]", "*a", "!!python/object/apply:os.system [ls]", "!!binary aGk=", "<<: {a: 1}", "? [a]", "--- ", "..."),
    *(
        "[" * 3000,
        "{" * 500,
        "- " * 400,
        "- [" * 90,
        "a: " * 60,
        "'" * 9,
        '"\\x00"',
        "\x00",
        "\x1b[31m",
        "\ud800",
        "\u202e",
        "\ufeff",
    ),
    *(
        ".nan",
        ".inf",
        "-.inf",
        "1e999",
        "1e-3",
        "010",
        "0x1F",
        "1_000",
        "9" * 400,
        "-0.0",
        "true",
        "null",
        "~",
        "yes",
        "2026-11-24",
    ),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "${env:HOME}",
        "${env:",
        "${env:NO_SUCH_NAME}",
        "${env:A:${env:B}}",
        "$",
        "{x}",
    ),
    *(
        "sqlite:////nowhere/x.db",
        "http://user:secret@host",
        "a" * 100_000,
        "\t",
        "\r\n",
        ": ",
        " #",
        "|\n  x\n",
        ">-\n",
        "%TAG ! x",
    ),
)


class HangError(Exception):
    """A configuration took longer than a second."""


@contextmanager
def at_most_a_second() -> Iterator[None]:
    """Raise HangError if what happens inside takes longer, by this process's own clock: the machine may be busy."""

    def hang(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def flip(text: str, rng: random.Random) -> str:
    """Replace a character by any other."""
    at = rng.randrange(len(text))
    return text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) + text[at + 1 :]


def delete(text: str, rng: random.Random) -> str:
    """Take a piece out."""
    at = rng.randrange(len(text))
    return text[:at] + text[at + rng.randrange(1, 30) :]


def double(text: str, rng: random.Random) -> str:
    """Say a line twice, somewhere."""
    lines = text.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "".join(lines)


def insert(text: str, rng: random.Random) -> str:
    """Put in something hostile."""
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(HOSTILE) + text[at:]


def replace_value(text: str, rng: random.Random) -> str:
    """Give a key another value."""
    lines = text.splitlines(keepends=True)
    at = rng.choice([index for index, line in enumerate(lines) if ":" in line] or [0])
    lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(HOSTILE)}\n"
    return "".join(lines)


def shift(text: str, rng: random.Random) -> str:
    """Indent a line otherwise."""
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = " " * rng.randrange(6) + lines[at].lstrip()
    return "".join(lines)


MUTATIONS: Final[tuple[Callable[[str, random.Random], str], ...]] = (
    flip,
    delete,
    double,
    insert,
    replace_value,
    shift,
)


@pytest.mark.parametrize("part", range(4))
def test_mutated_configurations_are_read_or_refused(tmp_path: Path, part: int) -> None:
    """No traceback, no hang, no memory without end: a ConfigError whose every line says where."""
    rng = random.Random(f"fuzz {part}")
    config_dir = tmp_path / "config"
    shutil.copytree(CONFIGS, config_dir)
    originals = {path: path.read_text() for path in sorted(config_dir.glob("*.yaml"))}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    problems: list[str] = []
    for number in range(COUNT // 4):
        path, text = rng.choice(list(originals.items()))
        for _ in range(rng.choice((1, 1, 2, 4))):
            text = rng.choice(MUTATIONS)(text, rng) or "x"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            with at_most_a_second():
                load_project_config(config_dir)
                if number % 50 == 0:
                    load_and_check(config_dir, [])
        except ConfigError as error:
            refused += 1
            problems += error.problems
        except Exception as error:
            raise AssertionError(f"part {part}, number {number}, {path.name}: {text!r}") from error
        path.write_text(originals[path])
    assert [line for line in problems if not line.isprintable() or len(line) > 1000] == []
    assert refused > COUNT // 4 * 0.3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
