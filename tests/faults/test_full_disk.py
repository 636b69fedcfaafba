"""Disks that are full, and folders that may not be written to: real ones, small and mounted for the test."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infrastructure.errors import AssayError, OutputError, StoreUnreachableError
from infrastructure.naming.fingerprints import fingerprint
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.runs import RunContent
from infrastructure.tracking.mlflow.session import set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject, calls
from tests.faults.test_store_away import AfterTrials, holds_once
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.results import StudyResult
from training.hpo.tracking import study_runs

MEGABYTE = 1_000_000


class Disk:
    """A file system in memory with little room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes of room."""
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 65_536) == 65_536:
                    pass
            except OSError:
                pass
            filler.truncate(max(0, filler.tell() - left))

    def make_room(self) -> None:
        """Free what `fill` took."""
        self._filler.unlink()


def mount(*arguments: str) -> None:
    """Mount a file system, or skip the test where that isn't allowed."""
    command = ["mount", *arguments]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root, and a sandbox that lets it")


@contextmanager
def disk(folder: Path, size: str = "8m") -> Iterator[Disk]:
    """Mount a small disk over a folder, with what was in it."""
    folder.mkdir(exist_ok=True)
    kept = folder.with_name(f"{folder.name}.kept")
    shutil.copytree(folder, kept)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield Disk(folder)
    finally:
        set_session(None)
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def alone(make_project: MakeProject) -> StudyResult:
    """Return what an uninterrupted sweep of the project comes to."""
    return sweep(make_project("alone"))


def goes_on(config_dir: Path, alone: StudyResult, trained: int = 6) -> None:
    """Check that the same command now comes to what an uninterrupted sweep does, training what it must alone."""
    set_session(None)
    result = sweep(config_dir)
    assert [(t.params, t.value, t.state) for t in result.trials] == [(t.params, t.value, t.state) for t in alone.trials]
    assert len(calls(config_dir)) <= trained
    holds_once(result.study_key_hash, 3)
    assert not list((config_dir.parent / "outputs").rglob("refused-*"))
    assert not list((config_dir.parent / "outputs").rglob("*.tmp"))


@pytest.mark.parametrize("left", [0, 4_096, 12_288])
def test_the_output_folders_disk_is_full(make_project: MakeProject, alone: StudyResult, left: int) -> None:
    """A disk that fills up in the middle ends the sweep with one line; with room, it goes on where it was."""
    config_dir = make_project()
    with disk(config_dir.parent / "outputs") as full:
        with pytest.raises(OutputError, match=r"No space left on device.*give the same command again") as caught:
            sweep(config_dir, progress=AfterTrials(1, lambda: full.fill(left)))
        assert caught.value.exit_code == 1
        assert "\n" not in str(caught.value)
        full.make_room()
        goes_on(config_dir, alone, trained=8)


def test_half_a_line_is_taken_back(make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation for which there was no room leaves nothing in the journal, and the next one is whole."""
    monkeypatch.setattr(Outbox, "_run", lambda _: None)
    setup_mlflow(config_dir=make_project())
    with disk(tmp_path / "small") as full:
        outbox = Outbox(full.folder, "run")
        outbox.write("run", RunContent(tags={"a": "1"}))
        full.fill()
        with pytest.raises(OutputError, match="No space left on device"):
            outbox.write("run", RunContent(tags={"b": "x" * 9_000}))
        full.make_room()
        outbox.write("run", RunContent(tags={"c": "3"}))
        lines = (full.folder / "outbox-run.jsonl").read_text().splitlines()
        assert [json.loads(line)["tags"] for line in lines] == [{"a": "1"}, {"c": "3"}]
        assert outbox.waiting == 2


def test_a_worker_finds_no_room(make_project: MakeProject, alone: StudyResult) -> None:
    """A training that can't write what it wants to is none that failed: its trial is gone on with."""
    config_dir = make_project()
    function = config_dir.parent / "objective.py"
    needs = "    (Path(output_dir) / 'weights').write_bytes(bytes(4_000_000))\n    loss ="
    function.write_text(
        function.read_text().replace("model_dir):", "model_dir, output_dir):", 1).replace("    loss =", needs)
    )
    with disk(config_dir.parent / "outputs") as full:
        full.fill(left=MEGABYTE)
        with pytest.raises(OutputError, match=r"trial 0 fold \d found no room to write: OSError: .*No space left"):
            sweep(config_dir)
        full.make_room()
        shutil.rmtree(next((config_dir.parent / "outputs").glob("*/trial-0000/fold-*/work")))
    function.write_text(function.read_text().replace("bytes(4_000_000)", "b''"))
    shutil.rmtree(config_dir.parent / "outputs")
    goes_on(config_dir, alone, trained=7)


def test_the_stores_disk_is_full(make_project: MakeProject, tmp_path: Path, alone: StudyResult) -> None:
    """A local store without room is one that is away: the sweep goes on, its records wait; none is thrown away."""
    config_dir = make_project()
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.move(config_dir.parent / "mlflow.db", folder)
    settings = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "store_timeout": 2}
    (config_dir / "mlflow.yaml").write_text(json.dumps(settings))
    with disk(folder) as full:
        with pytest.raises(StoreUnreachableError, match=r"records of the study wait in") as caught:
            sweep(config_dir, progress=AfterTrials(1, full.fill))
        assert caught.value.exit_code == 75
        assert "full" in str(caught.value)
        assert len(calls(config_dir)) == 6
        full.make_room()
        goes_on(config_dir, alone)


def test_the_artifacts_disk_is_full(make_project: MakeProject, alone: StudyResult) -> None:
    """Artifacts without room wait like records; a refit whose model has none isn't trained again for it."""
    config_dir = make_project()
    with disk(config_dir.parent / "mlartifacts", "1m") as full:
        sweep(config_dir)
        full.fill()
        for _ in range(2):
            with pytest.raises(OutputError, match=r"No space left on device"):
                refit(config_dir)
        full.make_room()
        assert refit(config_dir).version == "1"
        assert len(calls(config_dir)) == 7
        shutil.rmtree(config_dir.parent / "outputs")
    set_session(None)


def test_an_environment_without_room_waits(
    make_project: MakeProject, alone: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a study keeps as an artifact isn't refused for good when there is no room for it."""
    monkeypatch.setattr(study_runs, "LOOK_AGAIN", 0.0)  # the code changes within the first second
    config_dir = make_project()
    (config_dir / "mlflow.yaml").write_text(json.dumps({"store_timeout": 1}))
    function = config_dir.parent / "objective.py"
    text = function.read_text()
    with disk(config_dir.parent / "mlartifacts", "1m") as full:

        def fail_next() -> None:  # whose log is kept
            full.fill()
            function.write_text(text.replace("    loss =", "    raise RuntimeError(params)\n    loss ="))

        with pytest.raises(StoreUnreachableError, match=r"No space left on device.*wait in"):
            sweep(config_dir, progress=AfterTrials(1, fail_next))
        full.make_room()
        function.write_text(text)
        set_session(None)
        assert [trial.state for trial in sweep(config_dir).trials] == ["complete", "failed", "failed"]
        assert not list((config_dir.parent / "outputs").rglob("refused-*"))
        assert list((config_dir.parent / "mlartifacts").rglob("worker.log"))


def test_a_full_cache_is_no_matter(make_project: MakeProject, alone: StudyResult) -> None:
    """Without room or leave to write to the cache folder, everything goes on as with it."""
    config_dir = make_project()
    cache = Path(os.environ["XDG_CACHE_HOME"])
    with disk(cache) as full:
        os.utime(config_dir.parent / "data" / "train.jsonl", (0, 0))
        full.fill()
        fingerprint(config_dir.parent / "data")
        goes_on(config_dir, alone)
        assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("place", ["outputs", "cache"])
def test_a_folder_that_may_not_be_written_to(make_project: MakeProject, alone: StudyResult, place: str) -> None:
    """A read-only output folder is told in one line before anything is trained; a read-only cache isn't told at all."""
    config_dir = make_project()
    folder = config_dir.parent / "outputs" if place == "outputs" else Path(os.environ["XDG_CACHE_HOME"])
    with read_only(folder):
        if place == "cache":
            goes_on(config_dir, alone)
            return
        with pytest.raises(AssayError, match=r"(Read-only file system|Permission denied)") as caught:
            sweep(config_dir)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert calls(config_dir) == []
    goes_on(config_dir, alone)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write to a folder away; from root, whom modes don't stop, by a mount."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        mode = stat.S_IMODE(folder.stat().st_mode)
        folder.chmod(0o500)
        yield
        folder.chmod(mode)
        return
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def assay(config_dir: Path, *arguments: str, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command whose files can't grow beyond a size, as on a disk that is full; that needs no root."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file or resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, "-m", "training.cli.main", *arguments, "--config-dir", config_dir],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        preexec_fn=limit,
    )


@pytest.mark.parametrize("what", ["a result", "the log", "the journal"])
def test_the_command_says_it_in_one_line(make_project: MakeProject, alone: StudyResult, what: str) -> None:
    """The command line ends with 1 and one line, no traceback; given again with room, it finishes the same trials."""
    config_dir = make_project()
    function = config_dir.parent / "objective.py"
    text = function.read_text()
    largest = (config_dir.parent / "mlflow.db").stat().st_size + 3 * MEGABYTE
    big: dict[str, Callable[[], str]] = {
        "a result": lambda: "    (Path(__file__).parent / 'weights').write_bytes(bytes(9_000_000))\n    loss =",
        "the log": lambda: "    print('x' * 9_000_000)\n    loss =",
        "the journal": lambda: "    loss =",
    }
    function.write_text(text.replace("    loss =", big[what]()))
    if what == "the journal":
        key = sweep(config_dir, ["hpo.max_trials=1"])
        set_session(None)
        journal = config_dir.parent / "outputs" / key.study_key_hash[:16] / f"outbox-{key.run_id}.jsonl"
        with journal.open("wb") as file:
            file.truncate(largest - 1_000)
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        journal.with_suffix(".position").write_text(f"{journal.stat().st_size}\n")
    first = assay(config_dir, "sweep", largest_file=largest)
    assert first.returncode == 1, first.stderr
    (line,) = [line for line in first.stderr.splitlines() if not line.startswith("MLflow: ")]
    assert line.startswith("error: ")
    assert re.search("File too large|No space left on device", line)
    assert "give the same command again" in line
    function.write_text(text)
    goes_on(config_dir, alone, trained=8)
