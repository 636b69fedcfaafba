"""Checkpoints that are damaged in every way that disks and hands know."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.storage.checkpoints import Checkpoint, CheckpointFolder

FLIPS = int(os.environ.get("FLIPS", "2000"))


def save(checkpoints: CheckpointFolder, number: int) -> None:
    """Save a checkpoint of three files, one of them in a folder, one empty."""

    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(random.Random(number).randbytes(3000))
        (folder / "optimizer").mkdir()
        (folder / "optimizer" / "state.json").write_text(f'{{"step": {number}}}')
        (folder / "empty").touch()

    checkpoints.save(write, str(number))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[CheckpointFolder]:
    """Yield a folder with two checkpoints."""
    with CheckpointFolder(tmp_path, "key") as checkpoints:
        save(checkpoints, 1)
        save(checkpoints, 2)
        yield checkpoints


def number_of(checkpoint: Checkpoint | None) -> object:
    """Return which checkpoint this is."""
    return None if checkpoint is None else int(checkpoint.notes)


def files_of(folder: Path) -> list[Path]:
    """Return a checkpoint's files, its manifest among them."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_newest_is_taken_and_few_are_kept(tmp_path: Path) -> None:
    """The newest of any number is found whole, one more stays to go back to, and none is there before the first."""
    with CheckpointFolder(tmp_path, "key") as checkpoints:
        assert checkpoints.newest() is None
        for number in range(1, 13):
            save(checkpoints, number)
            assert number_of(checkpoints.newest()) == number
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "checkpoint-11", "checkpoint-12"]
        newest = checkpoints.newest()
        assert newest is not None
        assert (newest.folder / "optimizer" / "state.json").read_text() == '{"step": 12}'
        checkpoints.delete()
        assert checkpoints.newest() is None


def test_every_flipped_bit_is_seen(two: CheckpointFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """2,000 bits of any byte of any file, the manifest included: each is seen, and the checkpoint before is taken."""
    rng = random.Random(0)
    files = [path for path in files_of(tmp_path / "checkpoint-2") if path.stat().st_size]
    assert len(files) == 3
    for _ in range(FLIPS):
        path = rng.choice(files)
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert number_of(two.newest()) == 1, path
        path.write_bytes(content)
    assert number_of(two.newest()) == 2
    assert len(caplog.records) == FLIPS
    assert "checkpoint-2 is damaged and isn't used" in caplog.text


def test_every_cut_is_seen(two: CheckpointFolder, tmp_path: Path) -> None:
    """Each file cut to every length that it can have, and lengthened: each is noticed."""
    for path in files_of(tmp_path / "checkpoint-2"):
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            assert number_of(two.newest()) == 1, (path, length)
        path.write_bytes(content + b"\n")
        assert number_of(two.newest()) == 1, path
        path.write_bytes(content)
    assert number_of(two.newest()) == 2


def test_files_that_are_missing_or_too_many_are_seen(two: CheckpointFolder, tmp_path: Path) -> None:
    """A checkpoint without one of its files, or with another one, isn't believed; with both damaged there is none."""
    newest = tmp_path / "checkpoint-2"
    for path in files_of(newest):
        content = path.read_bytes()
        path.unlink()
        assert number_of(two.newest()) == 1, path
        path.write_bytes(content)
    (newest / "more").touch()
    assert number_of(two.newest()) == 1
    (newest / "more").unlink()
    assert number_of(two.newest()) == 2
    shutil.rmtree(newest)
    assert number_of(two.newest()) == 1
    (tmp_path / "checkpoint-1" / "weights").write_bytes(b"")
    assert two.newest() is None


def test_the_one_that_was_gone_back_to_stays(two: CheckpointFolder, tmp_path: Path) -> None:
    """After the newest was found damaged, the next save keeps the one before it, not the damaged one."""
    (tmp_path / "checkpoint-2" / "weights").write_bytes(b"")
    assert number_of(two.newest()) == 1
    save(two, 3)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]


def test_checkpoints_of_other_work_are_not_taken(two: CheckpointFolder, tmp_path: Path) -> None:
    """What was left in the folder by work with another key isn't gone on from."""
    assert CheckpointFolder(tmp_path, "another").newest() is None


def test_what_was_being_written_is_no_checkpoint(two: CheckpointFolder, tmp_path: Path) -> None:
    """A writer that fails or dies leaves the ones before as they are, and the next save is not in its way."""

    def fail(folder: Path) -> None:
        (folder / "weights").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        two.save(fail, "")
    assert number_of(two.newest()) == 2
    save(two, 3)
    assert number_of(two.newest()) == 3
    assert not (tmp_path / ".new").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A process that takes the folder up waits for the one that still has it."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from infrastructure.storage.checkpoints import CheckpointFolder\n"
        "with CheckpointFolder(Path(sys.argv[1]), 'key'):\n    print('in', flush=True)\n    time.sleep(1.5)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        begun = time.monotonic()
        with CheckpointFolder(tmp_path, "key"):
            assert time.monotonic() - begun > 0.5
