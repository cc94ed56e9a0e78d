"""Answers and vectors in parts: what is refused before a cluster is asked for anything."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.fixtures.rays import WorkersHere
from typer.testing import Result

from regraft.engines import compute

Photos = Callable[..., Path]
Fails = Callable[..., str]
Run = Callable[..., Result]


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process do what workers of a cluster do."""
    monkeypatch.setattr(compute, "workers_on", lambda name: WorkersHere() if name else None)


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("command", ["predict", pytest.param("embed", marks=pytest.mark.slow)])
def test_parts_have_the_photos_of_one_file(
    run: Run, fails: Fails, photos: Photos, *, bundle: Path, tiny_network: str, tmp_path: Path, command: str
) -> None:
    """Of a folder that has a table beside its photos, and of tables of which the first has no rows."""
    start = ("predict", bundle) if command == "predict" else ("embed", "--model", tiny_network)
    column = "file" if command == "predict" else "path"
    table = pa.table({"image": [path.read_bytes() for path in sorted(photos(red=2).rglob("*.jpg"))]})
    (tmp_path / "tables").mkdir()
    pq.write_table(table.slice(0, 0), tmp_path / "tables/a.parquet")
    pq.write_table(table, tmp_path / "tables/b.parquet")
    pets = photos("pets", red=2, blue=2)
    pq.write_table(table, pets / "thumbs.parquet")
    for data, count in ((pets, 4), (tmp_path / "tables", 2)):
        for more in (("--out", f"{count}.parquet"), ("--out", f"{count}/", "--on", "ray")):
            done = run(*start, data, *more)
            assert done.exit_code == 0, done.output
        names = [pq.read_table(tmp_path / name)[column].to_pylist() for name in (f"{count}.parquet", f"{count}")]
        assert names[0] == names[1]
        assert len(names[0]) == count
    message = "no image found for: tables/a.parquet."
    assert message in fails(*start, "tables/a.parquet", "--out", "none/", "--on", "ray")


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("out", ["tables/more/", "link/"])
def test_parts_do_not_lie_among_the_tables_that_are_read(
    fails: Fails, photos: Photos, *, bundle: Path, tiny_network: str, tmp_path: Path, out: str
) -> None:
    """The next command would find a folder of tables with others below it, and read none of them."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "link").symlink_to("tables/more", target_is_directory=True)
    photo = next(photos(red=1).rglob("*.jpg")).read_bytes()
    pq.write_table(pa.table({"image": [photo]}), tmp_path / "tables/a.parquet")
    for start in (("predict", bundle, "tables"), ("embed", "tables", "--model", tiny_network)):
        message = fails(*start, "--out", out, "--on", "ray")
        assert f"--out {out[:-1]} lies in tables, which then would be a folder of tables with more below it" in message
        assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["a.parquet"]


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_other_options_do_not_go_into_parts_that_are_there(
    run: Run, fails: Fails, photos: Photos, bundle: Path, tiny_network: str
) -> None:
    data = photos(red=2)
    for start in (("predict", bundle, data), ("embed", data, "--model", tiny_network)):
        whole = (*start, "--out", f"{start[0]}/", "--on", "ray")
        assert run(*whole).exit_code == 0
        assert run(*whole, "--batch-size", 1).exit_code == 0
        for more in (("--max-file-size", "1KB"), ("--range", "0:4095")):
            assert "holds parts of other photos, or of another classifier or other options." in fails(*whole, *more)


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_a_store_needs_a_cluster(fails: Fails, photos: Photos, bundle: Path, command: str) -> None:
    given = (bundle, photos(red=1)) if command == "predict" else (photos(red=1),)
    assert "--out is an address in a store, where the workers of a cluster write parts: --on ray. Without it" in fails(
        command, *given, "--out", "s3://bucket/out"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--like", "sample.csv"), "--like is for a submission, which is one file and not parts. Leave it out."),
        (("--clip", "0.01"), "--clip is for a submission"),
        (("--format", "json"), "--format json is not of parts. Allowed are csv, tsv, jsonl, parquet."),
        (("--format", "kaggle"), "--format kaggle is not of parts"),
    ],
)
def test_what_parts_do_not_hold(
    fails: Fails, photos: Photos, bundle: Path, more: tuple[str, ...], message: str
) -> None:
    parts = bundle.with_name("parts")
    bundle.with_name("sample.csv").write_text("id,label\n")
    assert message in fails("predict", bundle, photos(red=1), "--out", "parts/", "--on", "ray", *more)
    assert not parts.exists()


def test_figures_are_of_one_file(fails: Fails, photos: Photos, tmp_path: Path) -> None:
    assert "--json is of one file." in fails("embed", photos(red=1), "--out", "parts/", "--on", "ray", "--json")
    assert not (tmp_path / "parts").exists()


def test_what_names_no_cluster(fails: Fails, photos: Photos, bundle: Path) -> None:
    message = "--on must be ray, or ray:ADDRESS, as in ray:10.0.0.1:6379. Got 'dask'."
    assert message in fails("predict", bundle, photos(red=1), "--on", "dask")
