"""Shards: each photo is in one of them, and files of many photos are not opened before a worker reads them."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.test_tar_table import write_tar

from regraft.cluster import shards
from regraft.cluster.shards import Shard, count_photos, find_shards, first_photos
from regraft.data.columns import Columns
from regraft.data.photo_list import list_photos
from regraft.data.photos import find_photos
from regraft.errors import DataError
from regraft.runtime import MANY_PHOTOS

Photos = Callable[..., Path]


def table_of(photos: Path, file: Path, *, rows_of_a_group: int) -> Path:
    """Write a Parquet file of the photos below a folder."""
    found = sorted(photos.rglob("*.jpg"))
    images = [{"bytes": path.read_bytes(), "path": f"{path.parent.name}-{path.name}"} for path in found]
    labels = [path.parent.name for path in found]
    kinds = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.string()})
    pq.write_table(pa.table({"image": images, "label": labels}, kinds), file, row_group_size=rows_of_a_group)
    return file


def tar_of(photos: Path, file: Path) -> Path:
    """Write a .tar shard of the photos below a folder."""
    with tarfile.open(file, "w") as archive:
        for path in sorted(photos.rglob("*.jpg")):
            for ending, data in (("jpg", path.read_bytes()), ("cls", path.parent.name.encode())):
                member = tarfile.TarInfo(f"{path.parent.name}-{path.stem}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return file


def names(found: list[Shard]) -> list[str]:
    return [str(source) for shard in found for source in shard.photos().sources]


def test_photos_of_folders_are_taken_in_parts(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PHOTOS_OF_A_SHARD", 3)
    folder = photos(red=4, blue=3)
    found = find_shards([folder])
    assert [shard.rows for shard in found] == [3, 3, 1]
    in_order = [*(f"blue/{number}.jpg" for number in range(3)), *(f"red/{number}.jpg" for number in range(4))]
    assert names(found) == [str(folder / name) for name in in_order]
    assert found[0].photos().labels == ("blue",) * 3
    assert len({shard.digest() for shard in found}) == 3
    assert found[0].first_file() == folder / "blue/0.jpg"


def test_row_groups_are_taken_together_until_they_are_many(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of 2, 2, 2 and 1 photos, 3 or more a shard: two and two."""
    monkeypatch.setattr(shards, "PHOTOS_OF_A_SHARD", 3)
    (tmp_path / "tables").mkdir()
    file = table_of(photos(red=4, blue=3), tmp_path / "tables/train.parquet", rows_of_a_group=2)
    found = find_shards([tmp_path / "tables"])
    assert [(shard.places, shard.rows) for shard in found] == [(range(4), 4), (range(4, 7), 3)]
    assert [len(shard.photos()) for shard in found] == [4, 3]
    assert len(set(names(found))) == 7
    assert str(found[1]) == str(file)
    before = found[0].digest()
    table_of(photos("more", red=4, blue=4), file, rows_of_a_group=2)  # another file under its name
    assert find_shards([tmp_path / "tables"])[0].digest() != before


def test_a_tar_is_a_shard_and_its_headers_are_not_read_before_it_is_worked_on(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        tar_of(photos(f"of-{number}", number * 100, red=1, blue=2), tmp_path / f"train-{number}.tar")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        found = find_shards([f"{tmp_path}/train-{{0..1}}.tar"])
    assert [shard.rows for shard in found] == [None, None]
    assert [shard.photos().labels for shard in found] == [("blue", "blue", "red")] * 2


def loose(photos: Photos, folder: Path) -> None:
    photos(f"{folder.name}/cats/small", red=2, blue=3)


def a_table(photos: Photos, folder: Path) -> None:
    table_of(photos("of-table", red=2, blue=2), folder / "thumbs.parquet", rows_of_a_group=2)


def an_archive(photos: Photos, folder: Path) -> None:
    tar_of(photos("of-archive", red=2, blue=1), folder / "old.tar")


def splits(photos: Photos, folder: Path) -> None:
    """Write two tables in the order of their names that is not that of the splits, and one of no rows."""
    table_of(photos("tested", red=1, blue=2), folder / "test-0.parquet", rows_of_a_group=2)
    table_of(photos("learned", 50, red=3, blue=2), folder / "train-0.parquet", rows_of_a_group=2)
    table_of(folder / "nothing", folder / "train-1.parquet", rows_of_a_group=2)


def archives(photos: Photos, folder: Path) -> None:
    tar_of(photos("tested", red=1, blue=2), folder / "test-0.tar")
    tar_of(photos("learned", 50, red=3, blue=2), folder / "train-0.tar")


def paths(photos: Photos, folder: Path) -> None:
    """Write a table of names of photos that lie elsewhere, in groups of two."""
    found = sorted(str(path) for path in photos("elsewhere", red=3, blue=2).rglob("*.jpg"))
    table = pa.table({"image": found, "label": [Path(path).parent.name for path in found]})
    pq.write_table(table, folder / "names.parquet", row_group_size=2)


@pytest.mark.parametrize(
    "layout",
    [
        (loose,),
        (a_table,),
        (an_archive,),
        (loose, a_table),
        (loose, an_archive),
        (a_table, an_archive),
        (splits,),
        (archives,),
        (paths,),
    ],
    ids=lambda layout: "+".join(part.__name__ for part in layout),
)
def test_shards_have_the_photos_that_one_machine_lists(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: tuple[Callable[..., None], ...]
) -> None:
    monkeypatch.setattr(shards, "PHOTOS_OF_A_SHARD", 2)
    (tmp_path / "pets").mkdir()
    for part in layout:
        part(photos, tmp_path / "pets")
    found, expected = [shard.photos() for shard in find_shards([tmp_path / "pets"])], list_photos(tmp_path / "pets")
    assert [source for part in found for source in part.sources] == list(expected.sources)
    assert [label for part in found for label in part.labels] == list(expected.labels)
    assert [split for part in found for split in part.splits] == list(expected.splits)
    assert all(0 < len(part) <= 5 for part in found)
    assert [source for part in found for source in part.sources] == find_photos([tmp_path / "pets"])


def test_what_is_named_twice_is_in_one_shard(photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=3, blue=2)
    file = table_of(folder, tmp_path / "t.parquet", rows_of_a_group=3)
    given = [folder / "red/1.jpg", file, folder, folder / "blue", file]
    assert names(find_shards(given)) == [str(source) for source in find_photos(given)]
    assert len(names(find_shards(given))) == 10


def test_a_glob_names_no_shard_again(photos: Photos, tmp_path: Path) -> None:
    """A glob names the photos of its files one by one, a file's name all of it."""
    folder = photos(red=1, blue=2)
    tar_of(folder, tmp_path / "a.tar")
    tar_of(folder, tmp_path / "b.tar")
    table_of(folder, tmp_path / "c.parquet", rows_of_a_group=2)
    for given in ("a.tar", "*.tar"), ("*.tar", "a.tar"), ("c.parquet", "?.*"), ("[ac].*", "c.parquet", "?.tar"):
        paths = [tmp_path / name for name in given]
        assert names(find_shards(paths)) == [str(source) for source in find_photos(paths)]


def test_rows_are_counted(photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=3, blue=2)
    file = table_of(folder, tmp_path / "t.parquet", rows_of_a_group=3)
    assert count_photos(find_shards([folder, file])) == 10
    archive = tar_of(folder, tmp_path / "t.tar")  # as many as are not counted without reading it
    assert count_photos(find_shards([folder, archive])) == MANY_PHOTOS


@pytest.mark.parametrize("groups", [0, 1])
def test_tables_without_rows_are_passed_over(photos: Photos, tmp_path: Path, groups: int) -> None:
    (tmp_path / "tables").mkdir()
    table_of(photos(red=2), tmp_path / "tables/part-1.parquet", rows_of_a_group=1)
    empty = pa.table({"image": [b""], "label": [""]}).slice(0, 0)
    with pq.ParquetWriter(tmp_path / "tables/part-0.parquet", empty.schema) as file:
        for _ in range(groups):
            file.write_table(empty, row_group_size=1)
    found = find_shards([tmp_path / "tables"])
    assert [shard.rows for shard in found] == [2]
    with pytest.raises(DataError, match=r"^no image found for: .*part-0\.parquet\. Name image files"):
        find_shards([tmp_path / "tables/part-1.parquet", tmp_path / "tables/part-0.parquet"])


def test_an_archive_of_nothing_is_a_shard_without_photos(photos: Photos, tmp_path: Path) -> None:
    """That it is empty nobody knows before it is read, in the middle of a job that must not end for it."""
    archive = tar_of(photos(red=2), tmp_path / "b.tar")
    write_tar(tmp_path / "a.tar", {})
    for given in [tmp_path / "{a,b}.tar"], [tmp_path / "a.tar", archive]:
        found = find_shards(given)
        assert [len(shard.photos()) for shard in found] == [0, 2]
        assert first_photos(found, 5).sources == found[1].photos().sources  # what chooses for all workers
        assert first_photos(found, 1).sources == found[1].photos().sources[:1]
    with pytest.raises(DataError, match=r"a\.tar holds no image: it is empty"):
        first_photos(found[:1], 5)


def test_a_digest_changes_with_what_the_parts_say(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table_of(photos(red=2, blue=2), tmp_path / "t.parquet", rows_of_a_group=5)
    os.utime(file, ns=(10**18, 10**18))

    def digest(columns: Columns | None = None, name: str | Path = file) -> str:
        (shard,) = find_shards([name], columns)
        return shard.digest()

    first = digest()
    os.utime(file, ns=(10**18, 10**18 + 1))
    changed = [first, digest()]
    os.utime(file, ns=(10**18, 10**18))
    changed += [digest(Columns(label="label")), digest(Columns(split="none")), digest(Columns(group="label"))]
    changed += [digest(name=file.rename(tmp_path / "u.parquet"))]
    other = tmp_path / "other.parquet"
    other.write_bytes((tmp_path / "u.parquet").read_bytes())  # elsewhere on the disk, as where it is mounted anew
    (tmp_path / "u.parquet").unlink()
    other.rename(file)
    os.utime(file, ns=(10**18, 10**18))
    assert digest() == first
    with file.open("ab") as stream:
        stream.write(file.read_bytes())
    os.utime(file, ns=(10**18, 10**18))
    changed += [digest()]
    assert len(set(changed)) == len(changed) == 7
    table = tmp_path / "names.csv"
    table.write_text("image,label\nphotos/red/0.jpg,red\n")
    before = digest(name=table)
    table.write_text("image,label\nphotos/red/0.jpg,rust\n")
    assert digest(name=table) != before
    monkeypatch.chdir(tmp_path)
    here = digest(name="photos")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").rename(tmp_path / "elsewhere/photos")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert digest(name="photos") != here


def test_what_holds_no_photo_is_named(tmp_path: Path, photos: Photos) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing"):
        find_shards([tmp_path / "nothing"])
    file = table_of(photos(red=1), tmp_path / "t.parquet", rows_of_a_group=5)
    with pytest.raises(DataError, match=r"picture.*image"):
        find_shards([file], Columns(image="picture"))[0].photos()
