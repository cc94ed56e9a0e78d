"""Files: digests, JSON, and writing that leaves all or nothing."""

import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from regraft.errors import OutputError, RegraftError
from regraft.files import (
    TEMPORARY_SUFFIX,
    atomic_write,
    atomic_write_of,
    check_output,
    check_own_folder,
    json_or_none,
    parse_json,
    prepare_folder,
    sha256,
    write_failure,
)

FULL = OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_sha256_of_the_standards_example() -> None:
    """FIPS 180-4, the one-block example."""
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(memoryview(b"abc")) == sha256(b"abc")


# --- all or nothing ---


def test_atomic_write(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "model") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(TEMPORARY_SUFFIX)
        temporary.write_bytes(b"whole")
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == b"whole"


def test_atomic_write_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"old")
    with atomic_write(tmp_path / "model") as temporary:
        temporary.write_bytes(b"new")
        assert (tmp_path / "model").read_bytes() == b"old"
    assert (tmp_path / "model").read_bytes() == b"new"
    assert names(tmp_path) == ["model"]


def test_of_those_that_write_a_new_file_at_once_one_does(tmp_path: Path) -> None:
    wrote: list[int] = []
    written = threading.Barrier(8)

    def write(number: int) -> None:
        with suppress(FileExistsError):
            with atomic_write(tmp_path / "plan", new=True) as temporary:
                temporary.write_bytes(bytes([number]) * 100)
                written.wait(30)
            wrote.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    (number,) = wrote
    assert (tmp_path / "plan").read_bytes() == bytes([number]) * 100
    assert names(tmp_path) == ["plan"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:  # as of exFAT

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("os.link", refuse)
    with atomic_write(tmp_path / "plan", new=True) as temporary:
        temporary.write_bytes(b"first")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "plan", new=True) as temporary:
        temporary.write_bytes(b"second")
    assert (tmp_path / "plan").read_bytes() == b"first"
    assert names(tmp_path) == ["plan"]


def test_the_data_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(names(tmp_path)))
    with atomic_write(tmp_path / "model") as temporary:
        temporary.write_bytes(b"new")
    assert synced == [[temporary.name]]


def stopped_half_way(target: Path, error: BaseException) -> None:
    with atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(1), RegraftError("known")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_nothing_is_left_half_written(tmp_path: Path, error: BaseException, old: bytes | None) -> None:
    target = tmp_path / "model"
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(type(error)) as caught:
        stopped_half_way(target, error)
    assert caught.value is error
    assert names(tmp_path) == ([] if old is None else ["model"])
    assert old is None or target.read_bytes() == old


def test_interrupted_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "model"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def of_writing(path: Path, reason: str) -> str:
    return (
        f"{path} could not be written: {reason}. Nothing was left half-written; "
        "free some space or choose another place and run the same command again."
    )


def test_full_disk_while_writing(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        stopped_half_way(tmp_path / "model", FULL)
    assert str(caught.value) == of_writing(tmp_path / "model", "the disk is full")
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_full_disk_at_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise FULL

    (tmp_path / "model").write_bytes(b"old")
    monkeypatch.setattr(step, fail)
    with pytest.raises(OutputError, match="the disk is full"), atomic_write(tmp_path / "model") as temporary:
        temporary.write_bytes(b"half")
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == b"old"


class InUseError(PermissionError):
    """As Windows refuses to replace a file that another program has open."""

    winerror = 32


def refused(times: int, monkeypatch: pytest.MonkeyPatch, error: OSError) -> list[float]:
    """Let files be moved only after so many refusals; return the seconds that were waited."""
    genuine, waited = Path.replace, list[float]()
    left = [error] * times

    def replace(self: Path, target: Path) -> Path:
        if left:
            raise left.pop()
        return genuine(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


IN_USE = InUseError(errno.EACCES, "The process cannot access the file")


def test_a_file_that_is_in_use_for_a_moment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = refused(3, monkeypatch, IN_USE)
    (tmp_path / "7.txt").write_text("old")
    with atomic_write(tmp_path / "7.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "7.txt").read_text() == "new"
    assert waited == [0.01, 0.03, 0.1]


def test_a_file_that_stays_in_use_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = refused(9, monkeypatch, IN_USE)
    (tmp_path / "7.txt").write_text("old")
    with pytest.raises(OutputError) as caught, atomic_write(tmp_path / "7.txt") as temporary:
        temporary.write_text("new")
    reason = "The process cannot access the file (Windows keeps a file that another program has open: end that program)"
    assert str(caught.value) == of_writing(tmp_path / "7.txt", reason)
    assert (tmp_path / "7.txt").read_text() == "old"
    assert names(tmp_path) == ["7.txt"]
    assert sum(waited) == pytest.approx(1.04)


def test_other_refusals_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = refused(1, monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    expected = pytest.raises(OutputError, match="could not be written: Permission denied")
    with expected, atomic_write(tmp_path / "7.txt") as temporary:
        temporary.write_text("new")
    assert waited == []


def test_a_temporary_file_that_cannot_be_removed_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_use(self: Path) -> None:
        raise IN_USE

    monkeypatch.setattr(Path, "unlink", in_use)
    with pytest.raises(KeyboardInterrupt):
        stopped_half_way(tmp_path / "7.txt", KeyboardInterrupt())


def test_folder_that_is_missing(tmp_path: Path) -> None:
    target = tmp_path / "gone" / "model"
    with pytest.raises(OutputError) as caught, atomic_write(target) as temporary:
        temporary.write_bytes(b"x")
    assert str(caught.value) == of_writing(target, "No such file or directory")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FULL, "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("broken"), "broken"),
    ],
)
def test_one_sentence_for_each_failure(error: OSError, reason: str) -> None:
    assert str(write_failure(Path("model"), error)) == of_writing(Path("model"), reason)


def test_a_failure_in_words_keeps_its_words() -> None:
    known = OutputError("in words")
    assert write_failure(Path("model"), known) is known


# --- before the work ---


def test_check_output_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "model.safetensors")
    (tmp_path / "old").write_bytes(b"old")
    check_output(tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize("method", ["lstat", "stat"])
def test_output_below_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        with pytest.raises(OutputError, match=r"^path .*model cannot be written: Permission denied\. "):
            check_output(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_check_output_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_output(tmp_path)
    assert str(caught.value) == (
        f"path {tmp_path} is a folder. Name a file in it, e.g. {tmp_path / 'model.safetensors'}."
    )


def test_check_output_below_a_missing_folder(tmp_path: Path) -> None:
    target = tmp_path / "gone" / "report.json"
    with pytest.raises(OutputError) as caught:
        check_output(target, option="report")
    assert str(caught.value) == (
        f"report {target}: the folder {target.parent} does not exist. Create it: mkdir -p {target.parent}"
    )


def test_check_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"the folder .*file does not exist"):
        check_output(tmp_path / "file" / "model")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FULL, "{path} could not be written: the disk is full. Nothing was left half-written; free some space or"),
        (PermissionError(13, "Permission denied"), "--out {path} cannot be written: Permission denied. Choose another"),
        (FileNotFoundError(2, "No such file"), "--out {path} cannot be written: no files can be made there. Choose"),
    ],
)
def test_check_output_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    touch: Callable[..., None] = fail
    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(OutputError) as caught:
        check_output(tmp_path / "model", option="--out")
    assert str(caught.value).startswith(message.format(path=tmp_path / "model"))


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "latest.txt"
    link.symlink_to(tmp_path / "store" / "7.txt")
    check_output(link)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "store" / "7.txt").read_text() == "new"
    assert names(tmp_path / "store") == ["7.txt"]


def test_check_output_of_a_link_into_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "7.txt")
    with pytest.raises(OutputError, match="gone does not exist"):
        check_output(tmp_path / "link")


def test_check_output_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        OutputError, match=r"^path .*pipe is not an ordinary file but a device or a pipe\. Name a file\."
    ):
        check_output(tmp_path / "pipe")


def test_prepare_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "deep" / "report")
    prepare_folder(tmp_path)
    assert names(tmp_path) == []


def test_prepare_folder_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        prepare_folder(tmp_path / "file", option="report")
    assert str(caught.value) == (
        f"report {tmp_path / 'file'} is a file. Name a folder; it is created if it is missing."
    )


def test_check_own_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        check_own_folder(folder, "report.json")
    (tmp_path / "letter").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        check_own_folder(tmp_path, "report.json")
    assert str(caught.value) == (
        f"path {tmp_path} holds other files, which might be overwritten. Name another folder; it is created if it is "
        "missing."
    )
    (tmp_path / "report.json").write_bytes(b"")
    check_own_folder(tmp_path, "report.json")


# --- JSON ---


def test_json_is_parsed() -> None:
    assert parse_json('{"a": [1, 2.5, null, "é"]}') == {"a": [1, 2.5, None, "é"]}
    assert parse_json(b"[true]") == json_or_none(b"[true]") == [True]


@pytest.mark.parametrize(
    "text", ["", "[", "NaN", "[Infinity]", "-Infinity", "1e400", "[" * 100_000, b"\xff\xfe\x00"], ids=str
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    assert json_or_none(text) is None


@pytest.mark.parametrize("name", ["report.html", "net.safetensors", "a.PDF"])
def test_a_folder_that_looks_like_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"looks like a file, and a folder is written\. Name one, e\.g\. "):
        prepare_folder(tmp_path / name, option="--out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).mkdir()
    prepare_folder(tmp_path / name, option="--out")  # it is one


# --- several files, all or nothing ---


def test_several_files_appear_together(tmp_path: Path) -> None:
    with atomic_write_of(tmp_path / "model.xml", ".bin") as temporary:
        assert temporary.name == "model.xml"
        temporary.write_bytes(b"graph")
        temporary.with_suffix(".bin").write_bytes(b"weights")
        temporary.with_name("other").touch()  # which is of no use to anybody
        assert [name for name in names(tmp_path) if not name.endswith(TEMPORARY_SUFFIX)] == []
    assert names(tmp_path) == ["model.bin", "model.xml"]
    assert (tmp_path / "model.bin").read_bytes() == b"weights"


def test_nothing_is_left_of_several_files_after_a_failure(tmp_path: Path) -> None:
    def write(failure: BaseException | None) -> None:
        with atomic_write_of(tmp_path / "model.xml", ".bin") as temporary:
            temporary.write_bytes(b"graph")
            if failure is not None:
                raise failure

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt())
    with pytest.raises(OutputError, match=r"model\.xml could not be written: the disk is full"):
        write(FULL)
    with pytest.raises(OutputError, match=r"model\.xml could not be written: No such file"):
        write(None)  # there are no weights
    assert names(tmp_path) == []
