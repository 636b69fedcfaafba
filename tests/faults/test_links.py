"""Links and special files where folders and files are expected: nothing is written or deleted elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infrastructure.errors import AssayError, IdentityError, UnsafePathError
from infrastructure.naming import fingerprints
from infrastructure.naming.fingerprints import fingerprint
from tests.conftest import MakeProject
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.sync import sync


def content(folder: Path) -> dict[str, object]:
    """Return everything below a folder, with when it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


PLACES = (
    "outputs",
    "outputs/.locks",
    "outputs/{study}",
    "outputs/{study}/folds.json",
    "outputs/{study}/trial-0000",
    "outputs/{study}/trial-0000/fold-0",
    "outputs/{study}/trial-0000/fold-0/worker.log",
    "outputs/{study}/trial-0000/fold-0/result.json",
    "outputs/{study}/trial-0000/fold-0/work",
)


@pytest.fixture
def swept(make_project: MakeProject) -> tuple[Path, str]:
    """Return the config folder of a project that was swept, and the name of its study's folder."""
    config_dir = make_project(hpo={"max_trials": 1})
    return config_dir, sweep(config_dir).study_key_hash[:16]


def test_nothing_is_written_or_deleted_through_a_link(swept: tuple[Path, str], tmp_path: Path) -> None:
    """Wherever in the output folder a link leads elsewhere, the command says so and ends."""
    config_dir, study = swept
    victim = tmp_path / "victim"
    for place in PLACES:
        path = config_dir.parent / place.format(study=study)
        kept = tmp_path / "kept"
        path.rename(kept)
        if kept.is_dir():
            shutil.copytree(kept, victim)
        else:
            victim.mkdir()
            shutil.copy(kept, victim / "file")
        path.symlink_to(victim if kept.is_dir() else victim / "file")
        before = content(victim)
        with pytest.raises(UnsafePathError, match=r"a link to ") as caught:
            sweep(config_dir, ["hpo.max_trials=2"])
        assert str(path) in str(caught.value), place
        assert caught.value.exit_code == 2
        assert content(victim) == before, place
        path.unlink()
        kept.rename(path)
        shutil.rmtree(victim)
    assert len(sweep(config_dir, ["hpo.max_trials=2"]).trials) == 2


def test_starting_over_deletes_nothing_through_a_link(swept: tuple[Path, str], tmp_path: Path) -> None:
    """`sweep --force` deletes what lies in the new variant's folder, unless it is a link."""
    config_dir, study = swept
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    folder = config_dir.parent / "outputs" / f"{study}-2"
    folder.symlink_to(victim)
    with pytest.raises(UnsafePathError, match=f"{folder} is a link to "):
        sweep(config_dir, force=True)
    assert [path.name for path in victim.iterdir()] == ["file"]


def test_a_link_that_leads_nowhere_is_none_of_ours(swept: tuple[Path, str], tmp_path: Path) -> None:
    """A link whose target isn't there yet would be written through as well."""
    config_dir, study = swept
    path = config_dir.parent / "outputs" / study / "trial-0001"
    path.symlink_to(tmp_path / "not-yet")
    with pytest.raises(UnsafePathError, match=f"{path} is a link to "):
        sweep(config_dir, ["hpo.max_trials=2"])
    assert not (tmp_path / "not-yet").exists()


def test_a_pipe_among_results_is_no_result(swept: tuple[Path, str]) -> None:
    """A named pipe in the place of a result, which would be read for ever, is told."""
    config_dir, study = swept
    os.mkfifo(config_dir.parent / "outputs" / study / "outbox-x.position")
    with pytest.raises(UnsafePathError, match=r"is no plain file or folder"):
        sweep(config_dir)


def test_what_waits_behind_a_link_is_not_sent(swept: tuple[Path, str], tmp_path: Path) -> None:
    """A study's folder that is a link to somewhere with a journal isn't sent, nor is the journal touched."""
    config_dir, _ = swept
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "outbox-x.jsonl").write_text("{}\n")
    (config_dir.parent / "outputs" / "other").symlink_to(victim)
    with pytest.raises(UnsafePathError, match="other is a link to"):
        list(sync(config_dir))
    assert [path.name for path in victim.iterdir()] == ["outbox-x.jsonl"]


def test_refit_deletes_nothing_through_a_link(swept: tuple[Path, str], tmp_path: Path) -> None:
    """`refit --force` on a folder that became a link leaves what it leads to alone."""
    config_dir, study = swept
    refit(config_dir)
    (folder,) = (config_dir.parent / "outputs" / study).glob("refit-*")
    folder.rename(tmp_path / "victim")
    folder.symlink_to(tmp_path / "victim")
    before = content(tmp_path / "victim")
    with pytest.raises(UnsafePathError, match=f"{folder} is a link to"):
        refit(config_dir, force=True)
    assert content(tmp_path / "victim") == before


def test_a_link_in_the_trainers_own_folder_is_the_trainers(swept: tuple[Path, str], tmp_path: Path) -> None:
    """What the training function itself linked in its folder stays usable; starting over deletes the link alone."""
    config_dir, study = swept
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").touch()
    work = config_dir.parent / "outputs" / study / "trial-0000" / "fold-0" / "work"
    (work / "cache").symlink_to(tmp_path / "cache")
    sweep(config_dir, ["hpo.max_trials=2"])
    sweep(config_dir, force=True)
    assert (tmp_path / "cache" / "file").exists()


def endless(folder: Path) -> None:
    """Two folders, each of which links to the other, twice."""
    for here, there in (("a", "b"), ("b", "a")):
        (folder / here).mkdir()
        for name in ("x", "y"):
            (folder / here / name).symlink_to(folder / there)


def doubling(folder: Path) -> None:
    """Thirty folders, each with two links to the next: 2³⁰ ways to the last."""
    for number in range(30):
        (folder / f"{number:02d}").mkdir()
        if number:
            for name in ("x", "y"):
                (folder / f"{number - 1:02d}" / name).symlink_to(folder / f"{number:02d}")


def listening(folder: Path) -> None:
    """A socket that somebody listens on."""
    here = Path.cwd()
    os.chdir(folder)  # its path may have 108 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir(here)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (endless, "links to a folder that it lies in"),
        (doubling, "holds more than 1,000 linked folders"),
        (lambda folder: (folder / "up").symlink_to(folder.parent), "up links to a folder that it lies in"),
        (lambda folder: (folder / "self").symlink_to("self"), "self can't be read for a fingerprint: Too many levels"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe is a named pipe"),
        (listening, "socket is a socket"),
        (lambda folder: (folder / "zero").symlink_to("/dev/zero"), "zero is a device"),
        (lambda folder: (folder / "proc").symlink_to("/proc/self"), r"(is a|links to|can't be read|more than)"),
    ],
)
def test_data_without_end_is_refused(tmp_path: Path, make: Callable[[Path], None], expected: str) -> None:
    """Links in circles, pipes, sockets and devices among data are told in one line, without a hang."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("x,label\n1,2\n")
    make(folder)
    began = time.monotonic()
    with pytest.raises(IdentityError, match=expected) as caught:
        fingerprint(folder)
    assert time.monotonic() - began < 5
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_a_device_is_no_data_file(make_project: MakeProject, tmp_path: Path, target: str) -> None:
    """A data path or a folds file that is a device or a pipe is told before any run exists."""
    os.mkfifo(tmp_path / "pipe")
    config_dir = make_project()
    path = tmp_path / target
    for override in (f"data.path={path}", f"hpo.cv={{type: file, folds_file: '{path}'}}"):
        with pytest.raises(AssayError, match=r"(is a device|is a named pipe)") as caught:
            sweep(config_dir, [override])
        assert caught.value.exit_code == 2
    assert not (config_dir.parent / "outputs").exists()


def test_folders_linked_often_enough_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to one folder from several places are fine."""
    monkeypatch.setattr(fingerprints, "MOST_LINKS", 3)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("1")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abc":
        (folder / name).symlink_to(tmp_path / "elsewhere")
    assert len(fingerprint(folder)) == 64
