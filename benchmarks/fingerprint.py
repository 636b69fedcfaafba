"""How fast data gets its fingerprint: against BLAKE3 alone, against `os.stat` at the second look, and against DVC."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from blake3 import blake3

from common import Goal, Timing, dvc_version, show, timed, write_results
from infrastructure.naming.fingerprints import fingerprint

SMALL_FILES, SMALL_SIZE = 20_000, 2_000


def write_large(folder: Path, size: int) -> None:
    """Write a folder with so many bytes in eight files."""
    folder.mkdir()
    source = random.Random(1)
    for index in range(8):
        with (folder / f"part-{index}.bin").open("wb") as file:
            for _ in range(size // 8 // 2**20):
                file.write(source.randbytes(2**20))


def write_small(folder: Path) -> None:
    """Write a folder with many small files."""
    source = random.Random(2)
    for index in range(SMALL_FILES):
        below = folder / f"{index // 1000:02}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{index}.txt").write_bytes(source.randbytes(SMALL_SIZE))


def blake3_alone(folder: Path) -> None:
    """Hash every file's content, nothing else."""
    for file in sorted(folder.iterdir()):
        blake3(max_threads=blake3.AUTO).update_mmap(file).digest()


def stat_all(folder: Path) -> None:
    """Ask for the state of every file."""
    for below, _, names in os.walk(folder):
        for name in names:
            os.stat(os.path.join(below, name))  # noqa: PTH116, PTH118  the plainest way is the limit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dvc", type=Path, required=True, help="the peer, in a virtual environment of its own")
    parser.add_argument("--mebibytes", type=int, default=2048)
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    names = ("BLAKE3 alone", "fingerprint, first look", "dvc add")
    first = [Timing(name, []) for name in names]
    second = [Timing(name, []) for name in ("os.stat of each", "fingerprint, second look", "dvc status")]
    small_first = [Timing(name, []) for name in names[1:]]
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        write_large(root / "large", given.mebibytes * 2**20)
        write_small(root / "small")
        time.sleep(3)  # a file that has just been written is read again, since it may still change unnoticed
        for number in range(given.repetitions):
            os.environ["XDG_CACHE_HOME"] = str(root / f"cache-{number}")  # nobody has seen the data yet
            dvc = Dvc(given.dvc, root / f"dvc-{number}")
            with timed(first[0].seconds):
                blake3_alone(root / "large")
            with timed(first[1].seconds):
                fingerprint(root / "large")
            dvc.take_in(root / "large", first[2])
            with timed(small_first[0].seconds):
                fingerprint(root / "small")
            dvc.take_in(root / "small", small_first[1])
            with timed(second[0].seconds):
                stat_all(root / "small")
            with timed(second[1].seconds):
                fingerprint(root / "small")
            dvc.ask(second[2])
            shutil.rmtree(root / f"dvc-{number}")
    tables = {
        f"{given.mebibytes} MiB in 8 files": first,
        f"{SMALL_FILES} files, first look": small_first,
        f"{SMALL_FILES} files, second look": second,
    }
    for title, timings in tables.items():
        show(title, timings)
    goals = [
        Goal("first look: rate, × BLAKE3 alone", first[0].typical / first[1].typical, at_least=0.9),
        Goal("second look: × `os.stat` of each", second[1].typical / second[0].typical, at_most=1.5),
        Goal("first look, large files: times faster than `dvc add`", first[2].typical / first[1].typical, at_least=5),
        Goal(
            "first look, small files: times faster than `dvc add`",
            small_first[1].typical / small_first[0].typical,
            at_least=5,
        ),
        Goal("second look: times faster than `dvc status`", second[2].typical / second[1].typical, at_least=5),
    ]
    write_results("fingerprint", tables, goals, {"dvc": dvc_version(given.dvc)})


class Dvc:
    """A DVC repository without Git."""

    def __init__(self, command: Path, folder: Path) -> None:
        self._command = command.absolute()
        self._folder = folder
        folder.mkdir()
        self._run("init", "--no-scm", "--quiet")
        self._run("config", "cache.type", "reflink,hardlink,symlink,copy")

    def _run(self, *arguments: str) -> None:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self._folder / "site")}
        subprocess.run([self._command, *arguments], cwd=self._folder, check=True, capture_output=True, env=environment)

    def take_in(self, data: Path, timing: Timing) -> None:
        """Add a copy of a folder; links to the files would change their states for the others."""
        shutil.copytree(data, self._folder / data.name)
        with timed(timing.seconds):
            self._run("add", "--quiet", data.name)

    def ask(self, timing: Timing) -> None:
        """Ask whether the small files have changed."""
        with timed(timing.seconds):
            self._run("status", "--quiet", "small.dvc")


if __name__ == "__main__":
    main()
