"""Fingerprints of files and folders, and the cache of what was read before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from infrastructure.errors import ConfigError, IdentityError
from infrastructure.naming import digest_cache
from infrastructure.naming.fingerprints import backbone_identity, fingerprint

GOLDEN_FOLDER = "180104b6fc8c6c54523952f2941daa223ae478fed49c3be89ab8dc747c0c8b73"


class Reads:
    """Counts the files that are read for a digest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(digest_cache, "blake3", self)

    AUTO = blake3.AUTO

    def __call__(self, content: bytes = b"", max_threads: int = 1) -> blake3:
        self.count += not content  # the cache file's own name is hashed from a text
        return blake3(content, max_threads=max_threads)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with three files, which count as settled at once."""
    monkeypatch.setattr(digest_cache, "SETTLED", 0)
    files = {"train.jsonl": b"one", "b/test.jsonl": b"two", "empty": b""}
    for name, content in files.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


def test_golden_vector(folder: Path) -> None:
    """What a folder's fingerprint is computed from never changes: each name with its length, then its digest."""
    assert fingerprint(folder) == GOLDEN_FOLDER
    assert fingerprint(folder / "train.jsonl") == blake3(b"one").hexdigest()


def test_second_look_reads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that didn't change aren't read again; of those that did, each once."""
    reads = Reads(monkeypatch)
    first = fingerprint(folder)
    assert reads.count == 3
    assert fingerprint(folder) == first
    assert reads.count == 3
    (folder / "train.jsonl").write_bytes(b"ONE")
    assert fingerprint(folder) != first
    assert reads.count == 4


def test_same_size_and_time_is_noticed(folder: Path) -> None:
    """A file that was replaced, and given the old one's size and time, is read: its inode and change time differ."""
    first = fingerprint(folder)
    file = folder / "train.jsonl"
    times = file.stat()
    other = folder / "other"
    other.write_bytes(b"ONE")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert fingerprint(folder) != first


def test_fresh_files_are_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was changed a moment ago may change again within its time stamp, so it isn't kept."""
    monkeypatch.setattr(digest_cache, "SETTLED", 60_000_000_000)
    reads = Reads(monkeypatch)
    fingerprint(folder)
    fingerprint(folder)
    assert reads.count == 6


def test_names_count_in_the_second_look(folder: Path) -> None:
    """Files that change their names, or go, make another folder, although nothing in them was written."""
    seen = {fingerprint(folder)}
    (folder / "empty").rename(folder / "none")
    seen.add(fingerprint(folder))
    (folder / "none").unlink()
    seen.add(fingerprint(folder))
    assert len(seen) == 3


@pytest.mark.parametrize("content", [b"", b"no json", b"[1]", b'{"train.jsonl": ["x", "y"]}', b'["x", "y"]'])
@pytest.mark.parametrize("ending", ["json", "whole"])
def test_broken_cache_is_no_fault(folder: Path, ending: str, content: bytes) -> None:
    """A cache that can't be read, or not be written, is done without."""
    before = fingerprint(folder)
    (kept,) = Path(os.environ["XDG_CACHE_HOME"]).rglob(f"*.{ending}")
    kept.write_bytes(content)
    assert fingerprint(folder) == before
    kept.unlink()
    kept.mkdir()
    assert fingerprint(folder) == before


def test_links_are_followed(folder: Path) -> None:
    """Data behind a link to a folder counts as if it lay there; a link in a circle is an error."""
    before = fingerprint(folder)
    (folder / "b").rename(folder.parent / "elsewhere")
    (folder / "b").symlink_to(folder.parent / "elsewhere")
    assert fingerprint(folder) == before
    (folder / "circle").symlink_to(folder)
    with pytest.raises(IdentityError, match=r"circle links to a folder that it lies in"):
        fingerprint(folder)


def test_what_cannot_be_read_is_told(folder: Path) -> None:
    """A link that leads nowhere is told by its name."""
    (folder / "lost").symlink_to(folder / "nowhere")
    with pytest.raises(IdentityError, match=r"lost can't be read for a fingerprint: No such file"):
        fingerprint(folder)


def test_hidden_files_do_not_count(folder: Path) -> None:
    """What file managers and download tools leave behind is no content."""
    before = fingerprint(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "file.metadata").write_text("2026")
    assert fingerprint(folder) == before


def test_without_a_home_there_is_no_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder has fingerprints all the same."""
    before = fingerprint(folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert fingerprint(folder) == before


def test_a_packages_backbone_is_known_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a package with other weights is another backbone; one that isn't installed is told."""
    model = tmp_path / "weights_package" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    (model / "weights").write_bytes(b"1")
    monkeypatch.syspath_prepend(tmp_path)
    first = backbone_identity("package:weights_package/model", tmp_path)
    assert first == backbone_identity(str(model), tmp_path)
    (model / "weights").write_bytes(b"2")
    assert backbone_identity("package:weights_package/model", tmp_path) != first
    with pytest.raises(ConfigError, match="not installed"):
        backbone_identity("package:no_such_package/model", tmp_path)
