"""No input is overwritten under any of its names; what cannot be read is named, and the exit code says so."""

from pathlib import Path

import pytest
import typer

from regraft.cli.outputs import SOME_UNREADABLE, check_keeps_inputs, end_naming_unreadable
from regraft.errors import OptionError
from regraft.images.sources import Source, TableCell


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a photo, a table, and another name of each."""
    monkeypatch.chdir(tmp_path)
    for name in ("1.jpg", "set.parquet"):
        Path(name).touch()
    Path("link.csv").symlink_to("1.jpg")
    Path("hard.parquet").hardlink_to("set.parquet")
    return tmp_path


SOURCES: list[Source] = [Path("gone.jpg"), Path("1.jpg"), TableCell(Path("set.parquet"), "image", 0, 0, "2.jpg")]


@pytest.mark.parametrize(
    ("out", "read"),
    [("1.jpg", "1.jpg"), ("link.csv", "1.jpg"), ("set.parquet", "set.parquet"), ("hard.parquet", "set.parquet")],
)
def test_what_is_read_is_not_overwritten(files: Path, out: str, read: str) -> None:
    with pytest.raises(OptionError, match=rf"^--out {out} is a file that is read here: {read}\. Name another\.$"):
        check_keeps_inputs(Path(out), [], SOURCES)


def test_what_was_named_is_not_overwritten(files: Path) -> None:
    with pytest.raises(OptionError, match=r"is read here: 1\.jpg"):
        check_keeps_inputs(Path("link.csv"), ["*.jpg", "x" * 5000, "1.jpg"], [])


def test_files_of_a_local_network_are_not_overwritten(files: Path) -> None:
    (files / "net").mkdir()
    weights = files / "net" / "model.safetensors"
    weights.touch()
    (files / "link.safetensors").symlink_to(weights)
    for out in ("net/model.safetensors", "link.safetensors"):
        with pytest.raises(
            OptionError, match=rf"^--report {out} is a file that is read here: net/model\.safetensors\. Name another\.$"
        ):
            check_keeps_inputs(Path(out), [None, "", "pocket", "local-dir:net"], [], option="--report")


def test_an_image_in_a_folder_that_is_named_is_not_overwritten(files: Path) -> None:
    (files / "pets" / "test").mkdir(parents=True)
    photo = files / "pets" / "test" / "1.jpg"
    photo.touch()
    Path("curve.jpg").symlink_to(photo)
    for out in ("pets/test/1.jpg", "curve.jpg"):
        with pytest.raises(OptionError, match=rf"^--out {out} is an image among the photos of pets\. Name another\.$"):
            check_keeps_inputs(Path(out), [Path("pets"), "x" * 5000], [])
    (files / "pets" / "old.csv").touch()
    check_keeps_inputs(Path("pets/old.csv"), [Path("pets")], [])
    check_keeps_inputs(Path("pets/test/2.jpg"), [Path("pets")], [])


def test_other_files_may_be_written(files: Path) -> None:
    Path("older.csv").touch()
    for out in ("older.csv", "new.csv"):
        check_keeps_inputs(Path(out), ["*.jpg", "x" * 5000, "local-dir:net"], SOURCES)


def test_unreadable_photos_end_the_command_with_their_code(capsys: pytest.CaptureFixture[str]) -> None:
    end_naming_unreadable([])
    with pytest.raises(typer.Exit) as ended:
        end_naming_unreadable([(Path("a\n.jpg"), "cut\x1b off"), ("b.jpg", "empty")])
    assert ended.value.exit_code == SOME_UNREADABLE == 3
    assert capsys.readouterr().err == "unreadable: a\\n.jpg: cut\\x1b off\nunreadable: b.jpg: empty\n"
