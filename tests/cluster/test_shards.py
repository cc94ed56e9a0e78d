"""Shards: each photo is in one of them, and files of many photos are not opened before a worker reads them."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.cluster import shards
from regraft.cluster.shards import Shard, find_shards
from regraft.data.columns import Columns
from regraft.errors import DataError

Photos = Callable[..., Path]


def table_of(photos: Path, file: Path, *, rows_of_a_group: int) -> Path:
    """Write a Parquet file of the photos below a folder."""
    found = sorted(photos.rglob("*.jpg"))
    images = [{"bytes": path.read_bytes(), "path": f"{path.parent.name}-{path.name}"} for path in found]
    labels = [path.parent.name for path in found]
    pq.write_table(pa.table({"image": images, "label": labels}), file, row_group_size=rows_of_a_group)
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
    assert [(shard.groups, shard.rows) for shard in found] == [((0, 2), 4), ((2, 4), 3)]
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


def test_what_holds_no_photo_is_named(tmp_path: Path, photos: Photos) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing"):
        find_shards([tmp_path / "nothing"])
    file = table_of(photos(red=1), tmp_path / "t.parquet", rows_of_a_group=5)
    with pytest.raises(DataError, match=r"picture.*image"):
        find_shards([file], Columns(image="picture"))[0].photos()
