"""The same command on the same photos gives the same file, whatever ran before, wherever the photos lie."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]


@pytest.fixture
def fit(run: Run, tiny_network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., bytes]:
    """Return fit(photos, cache="name", ...), which gives the bytes of the classifier's file."""

    def made(photos: Path, *options: object, cache: str, network: str = tiny_network) -> bytes:
        monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / f"cache-{cache}"))
        out = tmp_path / f"{cache}.safetensors"
        done = run("fit", photos, "--model", network, "--out", out, *options)
        assert done.exit_code == 0, done.output
        return out.read_bytes()

    return made


TOP = ("--strategy", "top", "--epochs", 1, "--views", 2)


@pytest.mark.parametrize(
    "options", [("--strategy", "frozen"), pytest.param(TOP, marks=pytest.mark.slow)], ids=["frozen", "top"]
)
def test_equal_runs_give_equal_files(
    fit: Callable[..., bytes], photos: Photos, tmp_path: Path, tiny_network: str, options: tuple[object, ...]
) -> None:
    folder = photos(red=20, blue=20)
    (folder / "red" / "broken.jpg").write_bytes(b"no image")
    first = fit(folder, *options, cache="a")
    assert fit(folder, *options, cache="a") == first  # all is in the cache
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "pets")
    assert fit(moved, *options, cache="b") == first
    for part in (str(tmp_path), tmp_path.name, "elsewhere", str(Path(tiny_network.partition(":")[2]).parent)):
        assert part.encode() not in first


@pytest.mark.slow
def test_the_network_may_lie_elsewhere(
    fit: Callable[..., bytes], photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    folder, source = photos(red=20, blue=20), Path(tiny_network.removeprefix("local-dir:"))
    other = shutil.copytree(source, tmp_path / "moved" / source.name)
    first = fit(folder, "--strategy", "frozen", cache="a")
    assert fit(folder, "--strategy", "frozen", cache="b", network=f"local-dir:{other}") == first


@pytest.mark.slow
def test_another_set_that_came_first_changes_nothing(fit: Callable[..., bytes], photos: Photos) -> None:
    """150 photos each: engines are compared, and the network converted, by whichever comes first."""
    one, two = photos("one", red=75, blue=75), photos("two", 7000, green=75, grey=75)
    frozen = ("--strategy", "frozen")
    alone = fit(one, *frozen, cache="a"), fit(two, *frozen, cache="b")
    assert (fit(two, *frozen, cache="c"), fit(one, *frozen, cache="c")) == (alone[1], alone[0])
    assert (fit(one, *frozen, cache="d"), fit(two, *frozen, cache="d")) == alone


@pytest.mark.slow
@pytest.mark.graphs
def test_a_photos_answer_does_not_depend_on_what_the_cache_holds(
    fit: Callable[..., bytes], run: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One photo alone, with nothing in the cache, with the network converted, and among all photos."""
    folder = photos(red=75, blue=75)
    fit(folder, "--strategy", "frozen", cache="a")
    asked = folder / "red" / "7.jpg"

    def answer(*paths: Path) -> str:
        done = run("predict", tmp_path / "a.safetensors", *paths, "--format", "csv")
        assert done.exit_code == 0, done.output
        return next(line for line in done.stdout.splitlines() if line.startswith(str(asked)))

    known = answer(asked)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "empty"))
    assert answer(asked) == known
    assert answer(folder) == known
